// How operations get to the gateway. Each goes with its tab's headers; a websocket takes them along in
// `connection_init`.

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { Kind, parse } from 'graphql';

const endpoint = new URL('/graphql', location.href);
const transport = createGraphiQLFetcher({
  url: endpoint.href,
  subscriptionUrl: endpoint.href.replace(/^http/, 'ws'),
});

/** GraphiQL learns a moment late which operation stands in a tab that was just opened; its text is never late. */
export function fetcher(params, options) {
  let documentAST;
  try {
    documentAST = parse(params.query);
  } catch {
    return transport(params, options); // The gateway says what is wrong with it.
  }
  const names = documentAST.definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION).map(({ name }) => name?.value);
  const operationName = names.includes(params.operationName) ? params.operationName : names[0];
  return transport({ ...params, operationName }, { ...options, documentAST });
}
