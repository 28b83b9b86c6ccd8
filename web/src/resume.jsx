// GraphiQL ends a subscription when its tab is left. This starts it again when its tab comes back, so that one can
// watch a balance in one tab, pay in the next, and return to a balance that is live. It must never run anything else:
// what a mutation would do again is up to who sits in front of it.

import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { useEffect, useRef } from 'react';

import { onlySubscribes } from './fetcher.js';

export function Resume() {
  const { run, stop } = useGraphiQLActions();
  const { tab, query, isLive } = useGraphiQL((state) => ({
    tab: state.tabs[state.activeTabIndex]?.id,
    query: state.tabs[state.activeTabIndex]?.query,
    isLive: state.subscription !== null,
  }));
  const leftLive = useRef(new Set());
  const before = useRef({ tab, isLive });
  /** The tab in which the subscription that is open was started. */
  const opener = useRef(null);

  useEffect(() => {
    const was = before.current;
    before.current = { tab, isLive };
    if (isLive && !was.isLive) opener.current = tab;
    if (was.tab === tab) return;
    if (was.isLive && opener.current === was.tab) leftLive.current.add(was.tab);
    if (isLive && opener.current !== tab) stop(); // A tab that is opened anew stops nothing by itself.
    if (leftLive.current.delete(tab) && onlySubscribes(query)) run();
  }, [tab, query, isLive, run, stop]);
  return null;
}
