import { defineConfig } from 'vite';

/** Libraries mark modules for servers that render React; here there is none, and each mark would be a warning. */
const isServerMark = ({ code }) => code === 'MODULE_LEVEL_DIRECTIVE';

export default defineConfig({
  logLevel: 'warn',
  build: {
    // Everything lies under /assets, named by its content, so that the gateway may let browsers keep it.
    license: { fileName: 'assets/licences.md' },
    target: 'es2022',
    // The editor is one large piece, read from the same machine.
    chunkSizeWarningLimit: 8000,
    rolldownOptions: { onwarn: (warning, warn) => isServerMark(warning) || warn(warning) },
  },
});
