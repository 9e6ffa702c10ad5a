//! Circular doubly linked lists threaded through one flat array: constant-time insert and removal, no allocation.

/// Every node is in exactly one ring, alone at first. A list is the ring of a node kept as its anchor.
#[derive(Debug)]
pub(super) struct Links {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
}

impl Links {
    /// `count` nodes, each alone in its ring.
    pub(super) fn new(count: u32) -> Self {
        let alone = |node| Node {
            previous: node,
            next: node,
        };
        Self {
            nodes: (0..count).map(alone).collect(),
        }
    }

    pub(super) fn next(&self, node: u32) -> u32 {
        self.nodes[node as usize].next
    }

    pub(super) fn previous(&self, node: u32) -> u32 {
        self.nodes[node as usize].previous
    }

    /// The node shares its ring with others.
    pub(super) fn is_linked(&self, node: u32) -> bool {
        self.next(node) != node
    }

    /// Puts a lone node behind `anchor`: the front of its list.
    pub(super) fn push_front(&mut self, anchor: u32, node: u32) {
        self.join(anchor, node, self.next(anchor));
    }

    /// Puts a lone node before `anchor`: the back of its list.
    pub(super) fn push_back(&mut self, anchor: u32, node: u32) {
        self.join(self.previous(anchor), node, anchor);
    }

    /// Takes a node out of its ring and leaves it alone.
    pub(super) fn unlink(&mut self, node: u32) {
        let Node { previous, next } = self.nodes[node as usize];
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        self.nodes[node as usize] = Node {
            previous: node,
            next: node,
        };
    }

    /// The list of `anchor`, front to back, without the anchor.
    pub(super) fn iter(&self, anchor: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(self.next(anchor)), |&node| Some(self.next(node)))
            .take_while(move |&node| node != anchor)
    }

    fn join(&mut self, previous: u32, node: u32, next: u32) {
        debug_assert!(!self.is_linked(node));
        self.nodes[previous as usize].next = node;
        self.nodes[node as usize] = Node { previous, next };
        self.nodes[next as usize].previous = node;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_move_between_rings() {
        let mut links = Links::new(6);
        let list = |links: &Links, anchor| links.iter(anchor).collect::<Vec<_>>();
        links.push_back(0, 2);
        links.push_back(0, 3);
        links.push_front(0, 4);
        links.push_back(1, 5);
        assert_eq!(list(&links, 0), [4, 2, 3]);
        assert_eq!(list(&links, 1), [5]);
        links.unlink(2);
        assert!(!links.is_linked(2));
        links.push_front(1, 2);
        assert_eq!(list(&links, 0), [4, 3]);
        assert_eq!(list(&links, 1), [2, 5]);
        assert_eq!(links.previous(1), 5);
    }
}
