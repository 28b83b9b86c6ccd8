// Ids and tokens are long: the editors break their lines instead of hiding the end.

import { useGraphiQL } from '@graphiql/react';
import { useEffect } from 'react';

export function Wrap() {
  const editors = useGraphiQL(({ queryEditor, headerEditor }) => ({ queryEditor, headerEditor }));
  useEffect(() => {
    for (const editor of Object.values(editors)) editor?.updateOptions({ wordWrap: 'on' });
  }, [editors]);
  return null;
}
