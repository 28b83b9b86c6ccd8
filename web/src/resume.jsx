// GraphiQL ends a subscription when its tab is left. This starts it again when its tab comes back, so that one can
// watch a balance in one tab, pay in the next, and return to a balance that is live.

import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { useEffect, useRef } from 'react';

export function Resume() {
  const { run } = useGraphiQLActions();
  const { tab, isLive } = useGraphiQL((state) => ({
    tab: state.tabs[state.activeTabIndex]?.id,
    isLive: state.subscription !== null,
  }));
  const leftLive = useRef(new Set());
  const before = useRef({ tab, isLive });

  useEffect(() => {
    const was = before.current;
    before.current = { tab, isLive };
    if (was.tab === tab) return;
    if (was.isLive) leftLive.current.add(was.tab);
    if (leftLive.current.delete(tab)) run();
  }, [tab, isLive, run]);
  return null;
}
