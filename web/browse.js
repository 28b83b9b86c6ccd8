// Plays the scene in a real browser, as the end-to-end test asks: node browse.js URL CHROMIUM SCREENSHOTS.
// Prints as JSON what it saw. It must never wait for a time, only for what a person would see.

import { chromium } from 'playwright-core';

const [url, executablePath, screenshots] = process.argv.slice(2);
/** Generous, so that a loaded machine is no failure. */
const PATIENCE_MS = 60_000;

const browser = await chromium.launch({
  executablePath,
  // A machine without a network, as far as the page can tell.
  args: ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
context.setDefaultTimeout(PATIENCE_MS);

const seen = { tabs: [], requests: [], mutations: [], complaints: [] };
context.on('request', (request) => {
  seen.requests.push(request.url());
  const name = request.postDataJSON()?.query?.match(/mutation\s+(\w+)/)?.[1];
  if (name) seen.mutations.push(name);
});
context.on('requestfailed', (request) => {
  // What is under way when a page is reloaded is aborted by the browser itself.
  const why = request.failure()?.errorText;
  if (why !== 'net::ERR_ABORTED') seen.complaints.push(`${request.url()}: ${why}`);
});
context.on('weberror', (error) => seen.complaints.push(String(error.error())));
context.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) seen.complaints.push(message.text());
});
context.on('page', (page) => page.on('websocket', (socket) => seen.requests.push(socket.url())));

/** The playground in a new tab of the browser. */
async function open() {
  const page = await context.newPage();
  await page.goto(url);
  await page.locator('.graphiql-query-editor .view-line').first().waitFor();
  return page;
}

/** Opens one of the playground's own tabs. */
async function turnTo(page, name) {
  await page.getByRole('tab').getByRole('button', { name, exact: true }).click();
  await page.locator('.graphiql-query-editor .view-lines', { hasText: new RegExp(`(mutation|query|subscription)\\s+${name}`) }).waitFor();
}

/** Runs what is in the open tab. */
const run = (page) => page.getByRole('button', { name: /^Execute query/ }).click();

/** Waits until the answer has a text. */
async function answer(page, text) {
  const lines = page.locator('.graphiql-response .view-lines', { hasText: text });
  try {
    await lines.waitFor();
  } catch {
    const shown = await page.locator('.graphiql-response .view-lines').innerText();
    throw new Error(`no ${text} in the answer, which is: ${shown}`);
  }
}

async function runTab(page, name, expected) {
  await turnTo(page, name);
  await run(page);
  await answer(page, expected);
}

try {
  const davids = await open();
  seen.tabs = await davids.getByRole('tab').allInnerTexts();
  await runTab(davids, 'WatchBalance', '300.00');
  await davids.screenshot({ path: `${screenshots}/watching.png` });

  // Lisa pays in another tab of the browser, and David's shows it.
  const lisas = await open();
  await runTab(lisas, 'Pay', 'ACCEPTED');
  await lisas.screenshot({ path: `${screenshots}/paid.png` });
  await answer(davids, '320.00');
  await davids.screenshot({ path: `${screenshots}/live.png` });

  // In one tab of the browser: away from the balance, pay, and back to one that is live again.
  await runTab(davids, 'Pay', 'ACCEPTED');
  await turnTo(davids, 'WatchBalance');
  await answer(davids, '340.00');
  await run(lisas);
  await answer(davids, '360.00');

  // A tab that was opened beside the live balance, and left before it was run, stays as it was.
  await davids.getByRole('button', { name: 'New tab' }).click();
  await davids.locator('.graphiql-query-editor').click();
  await davids.keyboard.press('Control+A');
  await davids.keyboard.insertText('mutation Unasked { __typename }');
  await davids.getByRole('tab').getByRole('button', { name: 'Unasked', exact: true }).waitFor();
  await turnTo(davids, 'WatchBalance');
  await answer(davids, '360.00');
  await turnTo(davids, 'Unasked');
  await turnTo(davids, 'WatchBalance');
  await answer(davids, '360.00');
  await run(lisas);
  await answer(davids, '380.00');

  await runTab(lisas, 'Register', '"token"');
  await runTab(lisas, 'OpenAccount', '"OPEN"');
  await runTab(lisas, 'Deposit', 'ACCEPTED');
  await runTab(lisas, 'Overview', '"Lunch"');
  await lisas.screenshot({ path: `${screenshots}/overview.png` });

  // A reload keeps the tabs, signed in.
  await lisas.reload();
  await runTab(lisas, 'Overview', '"David"');

  await lisas.getByRole('button', { name: 'Show GraphiQL Explorer' }).click();
  await lisas.locator('.docExplorerWrap, .graphiql-explorer-root').getByText('viewer').first().waitFor();
  await lisas.screenshot({ path: `${screenshots}/explorer.png` });
  await lisas.getByRole('button', { name: 'Show Documentation Explorer' }).click();
  await lisas.locator('.graphiql-doc-explorer').getByText('Mutation').first().waitFor();
  await lisas.emulateMedia({ colorScheme: 'dark' });
  await lisas.locator('.graphiql-query-editor .monaco-editor.vs-dark').waitFor();
  await lisas.screenshot({ path: `${screenshots}/dark.png` });
  console.log(JSON.stringify(seen));
} catch (error) {
  for (const [at, page] of context.pages().entries()) await page.screenshot({ path: `${screenshots}/failed-${at}.png` });
  console.error(seen.complaints);
  throw error;
} finally {
  await browser.close();
}
