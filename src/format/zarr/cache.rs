//! Decoded chunks that are likely to be asked for again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Keeps values until those that were asked for since take more than a number of bytes.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    limit: usize,
    inner: Mutex<Inner<K, V>>,
}

#[derive(Debug)]
struct Inner<K, V> {
    values: HashMap<K, Entry<V>>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: Arc<V>,
    bytes: usize,
    used: u64,
}

impl<K: std::hash::Hash + Eq + Clone, V> Cache<K, V> {
    /// A cache of that many bytes.
    pub fn new(limit: usize) -> Self {
        let inner = Inner { values: HashMap::new(), bytes: 0, clock: 0 };
        Cache { limit, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut inner = self.lock();
        inner.clock += 1;
        let now = inner.clock;
        let entry = inner.values.get_mut(key)?;
        entry.used = now;
        Some(entry.value.clone())
    }

    /// Keeps a value of that many bytes, and drops those that were not used for longest.
    pub fn insert(&self, key: K, value: Arc<V>, bytes: usize) {
        let mut inner = self.lock();
        if bytes > self.limit {
            return;
        }
        inner.clock += 1;
        let entry = Entry { value, bytes, used: inner.clock };
        if let Some(before) = inner.values.insert(key, entry) {
            inner.bytes -= before.bytes;
        }
        inner.bytes += bytes;
        while inner.bytes > self.limit {
            let oldest = inner.values.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            if let Some(gone) = inner.values.remove(&oldest) {
                inner.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let cache = Cache::new(20);
        cache.insert(1, Arc::new('a'), 10);
        cache.insert(2, Arc::new('b'), 10);
        assert_eq!(cache.get(&1).as_deref(), Some(&'a'));
        cache.insert(3, Arc::new('c'), 10);
        assert_eq!(cache.get(&2), None);
        assert_eq!(cache.get(&1).as_deref(), Some(&'a'));
        cache.insert(4, Arc::new('d'), 21);
        assert_eq!(cache.get(&4), None);
        assert_eq!(cache.get(&3).as_deref(), Some(&'c'));
    }
}
