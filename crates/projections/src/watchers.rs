//! Who waits for which key to change. An announcement is only a hint: whoever hears it reads the
//! model, so nothing is buffered and nothing can be missed. This module must never hold data.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use streams::Trace;
use tokio::sync::watch;

/// With an announcement goes the trace that it belongs to, if it does to one.
type Hint = Option<Trace>;
type Channels<K> = Arc<Mutex<HashMap<K, watch::Sender<Hint>>>>;

/// The keys that a batch touched, while somebody watches any. Under load several payments touch one key; its hint is in the
/// trace of the last one that is followed.
#[derive(Debug)]
pub struct Touched<K> {
    is_watched: bool,
    keys: HashSet<K>,
    traces: HashMap<K, Trace>,
}

impl<K> Default for Touched<K> {
    fn default() -> Self {
        Self { is_watched: true, keys: HashSet::new(), traces: HashMap::new() }
    }
}

impl<K: Eq + Hash + Copy> Touched<K> {
    /// Notes that a key was touched, and in which trace.
    pub fn touch(&mut self, key: K, trace: Option<&Trace>) {
        if !self.is_watched {
            return;
        }
        self.keys.insert(key);
        if let Some(trace) = trace {
            self.traces.insert(key, trace.clone());
        }
    }
}

/// Watches on keys.
#[derive(Debug)]
pub struct Watchers<K>(Channels<K>);

impl<K> Default for Watchers<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Copy> Watchers<K> {
    /// Starts to watch a key: what is announced from now on is heard.
    #[must_use]
    pub fn watch(&self, key: K) -> Watch<K> {
        let mut channels = lock(&self.0);
        let receiver = channels.entry(key).or_insert_with(|| watch::channel(None).0).subscribe();
        Watch { key, receiver: Some(receiver), channels: Arc::clone(&self.0) }
    }

    /// Finds out whether a record's keys are to be noted. To be asked once the rows are taken that the record changes: whoever
    /// begins to watch from then on reads them when they are changed.
    pub(crate) fn prepare(&self, touched: &mut Touched<K>) {
        touched.is_watched = !lock(&self.0).is_empty();
    }

    /// Tells those who watch one of the keys.
    pub fn announce(&self, mut touched: Touched<K>) {
        let channels = lock(&self.0);
        if channels.is_empty() {
            return;
        }
        for key in touched.keys {
            if let Some(channel) = channels.get(&key) {
                channel.send_replace(touched.traces.remove(&key));
            }
        }
    }

    /// Tells everybody.
    pub fn announce_all(&self) {
        lock(&self.0).values().for_each(|channel| drop(channel.send_replace(None)));
    }
}

/// One watch on one key.
#[derive(Debug)]
pub struct Watch<K: Eq + Hash + Copy> {
    key: K,
    receiver: Option<watch::Receiver<Hint>>,
    channels: Channels<K>,
}

impl<K: Eq + Hash + Copy> Watch<K> {
    /// Waits for an announcement since the last call, or since the watch began; says in which trace it is.
    pub async fn changed(&mut self) -> Option<Trace> {
        match &mut self.receiver {
            Some(receiver) => {
                // The sender lives as long as a receiver does, see `drop`.
                let _ = receiver.changed().await;
                receiver.borrow_and_update().clone()
            }
            None => std::future::pending().await,
        }
    }
}

impl<K: Eq + Hash + Copy> Drop for Watch<K> {
    fn drop(&mut self) {
        let mut channels = lock(&self.channels);
        self.receiver = None;
        if channels.get(&self.key).is_some_and(|channel| channel.receiver_count() == 0) {
            channels.remove(&self.key);
        }
    }
}

fn lock<K>(channels: &Channels<K>) -> std::sync::MutexGuard<'_, HashMap<K, watch::Sender<Hint>>> {
    // Nothing that holds the lock can panic half-way through a change.
    channels.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_announced_after_the_watch_began_is_heard_once() {
        let watchers = Watchers::default();
        let mut watch = watchers.watch(1);
        let mut touched = Touched::default();
        [2, 1, 1].into_iter().for_each(|key| touched.touch(key, None));
        watchers.announce(touched);
        watch.changed().await;
        let again = tokio::time::timeout(std::time::Duration::from_millis(10), watch.changed()).await;
        assert!(again.is_err());
        drop(watch);
        assert!(lock(&watchers.0).is_empty());
    }

    #[test]
    fn keys_are_noted_while_somebody_watches_any() {
        let watchers = Watchers::default();
        let noted = || {
            let mut touched = Touched::default();
            watchers.prepare(&mut touched);
            touched.touch(1, None);
            touched.keys.len()
        };
        assert_eq!(noted(), 0);
        let watch = watchers.watch(2);
        assert_eq!(noted(), 1);
        drop(watch);
        assert_eq!(noted(), 0);
    }
}
