//! Requests that wait for a slot: the own ones first, then one of each peer in turn.

use std::collections::{BTreeMap, VecDeque};

use teale_wire::NodeId;

use super::JobId;

#[derive(Debug)]
pub(super) struct FairQueue {
    limit: usize,
    own: VecDeque<JobId>,
    peers: BTreeMap<NodeId, VecDeque<JobId>>,
    turn: VecDeque<NodeId>,
    len: usize,
}

/// No place: the queue is full and nobody takes more of it than the newcomer would.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl FairQueue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, own: VecDeque::new(), peers: BTreeMap::new(), turn: VecDeque::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a request of a peer, or of this node (`None`). In a full queue the last request of the peer with the
    /// most places makes room for a peer with fewer, and is returned.
    pub(super) fn push(&mut self, who: Option<NodeId>, job: JobId) -> Result<Option<JobId>, Full> {
        let mut evicted = None;
        if self.len >= self.limit {
            let mine = who.map_or(0, |peer| self.peers.get(&peer).map_or(0, VecDeque::len));
            let heaviest =
                self.peers.iter().max_by_key(|(_, queue)| queue.len()).map(|(peer, q)| (*peer, q.len()));
            match heaviest {
                Some((peer, places)) if places > mine + 1 && Some(peer) != who => {
                    evicted = self.peers.get_mut(&peer).and_then(VecDeque::pop_back);
                    self.len -= usize::from(evicted.is_some());
                }
                _ => return Err(Full),
            }
        }
        match who {
            None => self.own.push_back(job),
            Some(peer) => {
                let queue = self.peers.entry(peer).or_default();
                if queue.is_empty() {
                    self.turn.push_back(peer);
                }
                queue.push_back(job);
            }
        }
        self.len += 1;
        Ok(evicted)
    }

    pub(super) fn pop(&mut self) -> Option<JobId> {
        if let Some(job) = self.own.pop_front() {
            self.len -= 1;
            return Some(job);
        }
        let peer = self.turn.pop_front()?;
        let queue = self.peers.get_mut(&peer)?;
        let job = queue.pop_front()?;
        if queue.is_empty() {
            self.peers.remove(&peer);
        } else {
            self.turn.push_back(peer);
        }
        self.len -= 1;
        Some(job)
    }

    pub(super) fn remove(&mut self, who: Option<NodeId>, job: JobId) -> bool {
        let Some(queue) = (match who {
            None => Some(&mut self.own),
            Some(peer) => self.peers.get_mut(&peer),
        }) else {
            return false;
        };
        let before = queue.len();
        queue.retain(|other| *other != job);
        let removed = before > queue.len();
        let emptied = queue.is_empty();
        self.len -= usize::from(removed);
        if let (true, Some(peer)) = (emptied, who) {
            self.peers.remove(&peer);
            self.turn.retain(|other| *other != peer);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn peers_take_turns_and_the_own_node_goes_first() {
        let mut queue = FairQueue::new(10);
        for (who, job) in [(1, 1), (1, 2), (1, 3), (2, 4)] {
            queue.push(Some(node(who)), JobId(job)).unwrap();
        }
        queue.push(None, JobId(5)).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|job| job.0).collect();
        assert_eq!(order, [5, 1, 4, 2, 3]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn one_peer_cannot_keep_another_out_of_a_full_queue() {
        let mut queue = FairQueue::new(3);
        for job in 1..=3 {
            queue.push(Some(node(1)), JobId(job)).unwrap();
        }
        assert_eq!(queue.push(Some(node(1)), JobId(4)), Err(Full));
        assert_eq!(queue.push(Some(node(2)), JobId(5)), Ok(Some(JobId(3))));
        assert_eq!(queue.push(Some(node(2)), JobId(6)), Err(Full));
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn a_removed_request_leaves_no_turn_behind() {
        let mut queue = FairQueue::new(3);
        queue.push(Some(node(1)), JobId(1)).unwrap();
        assert!(queue.remove(Some(node(1)), JobId(1)));
        assert!(!queue.remove(Some(node(1)), JobId(1)));
        queue.push(Some(node(1)), JobId(2)).unwrap();
        assert_eq!(queue.pop(), Some(JobId(2)));
        assert_eq!(queue.pop(), None);
    }
}
