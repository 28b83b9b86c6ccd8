// What clients of others make of the gateway, as the end-to-end test asks: node peers.js URL TOKEN ACCOUNT.
// Prints as JSON what they say. It must never know what the gateway is made of.

import { auditServer } from 'graphql-http';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, token, account] = process.argv.slice(2);
const authorization = `Bearer ${token}`;
const WATCH = `subscription { balanceChanged(accountId: "${account}") { version } }`;
const ASK = `{ account(id: "${account}") { id } }`;

/** The answers to an operation, at most so many. */
async function answers(client, query, most) {
  const got = [];
  for await (const answer of client.iterate({ query })) {
    got.push(answer);
    if (got.length === most) break;
  }
  return got;
}

/** What a client gets for a query, a subscription, and what is no document. */
async function tell(client) {
  const refused = await answers(client, '{', 2).catch((errors) => [{ errors }]);
  return { query: await answers(client, ASK, 2), watch: await answers(client, WATCH, 1), refused };
}

const audits = await auditServer({ url });
const ws = createWsClient({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: { authorization } });
const sse = createSseClient({ url, headers: { authorization } });
console.log(
  JSON.stringify({
    audits: audits.length,
    failed: audits.filter(({ status }) => status !== 'ok').map(({ id, name, reason }) => `${id} ${name}: ${reason}`),
    ws: await tell(ws),
    sse: await tell(sse),
  }),
);
await ws.dispose();
sse.dispose();
