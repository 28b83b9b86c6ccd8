// How operations get to the gateway. Each goes with its tab's headers; a websocket takes them along in
// `connection_init`.

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { Kind, OperationTypeNode, parse } from 'graphql';

const endpoint = new URL('/graphql', location.href);
const transport = createGraphiQLFetcher({
  url: endpoint.href,
  subscriptionUrl: endpoint.href.replace(/^http/, 'ws'),
  enableIncrementalDelivery: false, // Else GraphiQL takes each query and mutation for a subscription while it is under way.
});

const operations = ({ definitions }) => definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION);

/** Whether a document can be run again without doing anything. */
export function onlySubscribes(query) {
  try {
    return operations(parse(query)).every(({ operation }) => operation === OperationTypeNode.SUBSCRIPTION);
  } catch {
    return false;
  }
}

/** GraphiQL learns a moment late which operation stands in a tab that was just opened; its text is never late. */
export function fetcher(params, options) {
  let documentAST;
  try {
    documentAST = parse(params.query);
  } catch {
    return transport(params, options); // The gateway says what is wrong with it.
  }
  const names = operations(documentAST).map(({ name }) => name?.value);
  const operationName = names.includes(params.operationName) ? params.operationName : names[0];
  return transport({ ...params, operationName }, { ...options, documentAST });
}
