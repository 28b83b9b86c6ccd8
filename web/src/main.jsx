// The playground: GraphiQL on this gateway, with tabs that open on the bank's real operations. This page must
// never ask another host for anything: it works on a machine without a network.

import 'graphiql/setup-workers/vite';
import { explorerPlugin } from '@graphiql/plugin-explorer';
import { createLocalStorage } from '@graphiql/toolkit';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createRoot } from 'react-dom/client';

import { fetcher } from './fetcher.js';
import mark from './mark.svg';
import { Resume } from './resume.jsx';
import { tabs } from './tabs.js';
import { FollowTheme } from './theme.jsx';
import { Wrap } from './wrap.jsx';

import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './style.css';

const PLUGINS = [HISTORY_PLUGIN, explorerPlugin()];

const DEMO_HINT =
  'Run WatchBalance, then Pay, and come back: David’s balance is live. Or watch it in a second window. ' +
  'Each tab is signed in by its own headers.';
const HINT =
  'Sign in under Headers, in each tab by itself: {"authorization": "Bearer …"}. `millrace token` prints tokens. ' +
  'Where the bank shows its schema only to who is signed in, fetch it again then (the arrows on the left).';

/**
 * Where this browser keeps edited tabs. With demo customers it is a place that ends with their tokens:
 * `dev` started anew opens fresh tabs, and none with a token of before.
 */
function storage(demo) {
  const place = demo ? `millrace-demo-${demo.operator.token.slice(-12)}` : 'millrace';
  for (const key of demo ? Object.keys(localStorage) : []) {
    if (key.startsWith('millrace-demo-') && !key.startsWith(`${place}:`)) localStorage.removeItem(key);
  }
  return createLocalStorage({ namespace: place });
}

function Playground({ demo, refusal }) {
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={PLUGINS}
      defaultTabs={tabs(demo)}
      storage={storage(demo)}
      shouldPersistHeaders={demo !== null}
      defaultEditorToolsVisibility="headers"
    >
      <GraphiQL.Logo>
        <img className="mark" src={mark} alt="" />
        <span className="name">Millrace</span>
      </GraphiQL.Logo>
      <GraphiQL.Footer>
        <p className="hint">{demo ? DEMO_HINT : refusal ? `No demo customer is signed in. ${refusal} ${HINT}` : HINT}</p>
        <Wrap />
        <Resume />
        <FollowTheme />
      </GraphiQL.Footer>
    </GraphiQL>
  );
}

/** Who is signed in here, if anybody, or why nobody is. */
async function signedIn() {
  try {
    const { demo = null, errors } = await (await fetch('/playground.json')).json();
    return { demo, refusal: errors?.[0]?.message };
  } catch (error) {
    return { demo: null, refusal: `Who is signed in cannot be read: ${error.message}.` };
  }
}

createRoot(document.getElementById('playground')).render(<Playground {...await signedIn()} />);
