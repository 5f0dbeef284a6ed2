//! Decoded chunks that are likely to be asked for again.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps values until those that were asked for since take more than a number of bytes.
/// All volumes share one, so that the bound holds for any number of files.
#[derive(Debug)]
pub(super) struct Cache<K, V: ?Sized> {
    limit: usize,
    inner: Mutex<Inner<K, V>>,
}

#[derive(Debug)]
struct Inner<K, V: ?Sized> {
    values: HashMap<K, CacheEntry<V>>,
    /// Keys by the time of their last use.
    by_use: BTreeMap<u64, K>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct CacheEntry<V: ?Sized> {
    value: Arc<V>,
    bytes: usize,
    used: u64,
}

impl<K: Hash + Eq + Clone, V: ?Sized> Cache<K, V> {
    /// A cache of that many bytes.
    pub fn new(limit: usize) -> Self {
        let inner = Inner { values: HashMap::new(), by_use: BTreeMap::new(), bytes: 0, clock: 0 };
        Cache { limit, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let entry = inner.values.get_mut(key)?;
        inner.clock += 1;
        if let Some(key) = inner.by_use.remove(&entry.used) {
            inner.by_use.insert(inner.clock, key);
        }
        entry.used = inner.clock;
        Some(entry.value.clone())
    }

    /// Keeps a value of that many bytes, and drops those that were not used for longest.
    /// A value larger than the cache is kept alone: it was in memory anyway, and what is
    /// asked for next is most often the same.
    pub fn insert(&self, key: K, value: Arc<V>, bytes: usize) {
        let mut inner = self.lock();
        inner.clock += 1;
        let now = inner.clock;
        let entry = CacheEntry { value, bytes, used: now };
        if let Some(before) = inner.values.insert(key.clone(), entry) {
            inner.bytes -= before.bytes;
            inner.by_use.remove(&before.used);
        }
        inner.by_use.insert(now, key);
        inner.bytes += bytes;
        while inner.bytes > self.limit && inner.values.len() > 1 {
            let Some((_, oldest)) = inner.by_use.pop_first() else { return };
            if let Some(gone) = inner.values.remove(&oldest) {
                inner.bytes -= gone.bytes;
            }
        }
    }

    /// Drops the values of some keys.
    pub fn forget(&self, gone: impl Fn(&K) -> bool) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.by_use.retain(|_, key| !gone(key));
        inner.values.retain(|key, entry| {
            let stays = !gone(key);
            if !stays {
                inner.bytes -= entry.bytes;
            }
            stays
        });
    }

    /// Bytes that are kept.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
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
        assert_eq!((cache.get(&3).as_deref(), cache.bytes()), (Some(&'c'), 20));
        // One that is too large is kept alone.
        cache.insert(4, Arc::new('d'), 21);
        assert_eq!((cache.get(&3), cache.bytes()), (None, 21));
        cache.insert(5, Arc::new('e'), 5);
        assert_eq!((cache.get(&4), cache.bytes()), (None, 5));
    }

    #[test]
    fn what_goes_with_its_volume_leaves_room() {
        let cache = Cache::new(100);
        for volume in 0..3 {
            for chunk in 0..3 {
                cache.insert((volume, chunk), Arc::new(chunk), 10);
            }
        }
        cache.insert((1, 1), Arc::new(7), 20);
        cache.forget(|(volume, _)| *volume == 1);
        assert_eq!((cache.get(&(1, 1)), cache.bytes()), (None, 60));
        assert_eq!(cache.get(&(2, 1)).as_deref(), Some(&1));
    }
}
