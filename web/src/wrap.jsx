// Ids are long: the query editor breaks its lines instead of hiding their ends.

import { useGraphiQL } from '@graphiql/react';
import { useEffect } from 'react';

export function Wrap() {
  const editor = useGraphiQL((state) => state.queryEditor);
  useEffect(() => editor?.updateOptions({ wordWrap: 'on' }), [editor]);
  return null;
}
