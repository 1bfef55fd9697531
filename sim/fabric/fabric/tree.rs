//! The spanning tree between switches: which cables carry frames, so that no loop floods for ever.
//!
//! A model of (rapid) spanning tree's outcome, not of its messages: the switch with the least id is the root, every other one keeps its
//! shortest way there (of equals by the least neighbor, then the oldest cable), and all other cables between switches are blocked at both ends. A cable
//! that leaves the tree is blocked at once, one that enters it opens when the tree has converged, so what is open is a part of a tree
//! at every moment. A cable that is cut in one direction only keeps its carrier and its place: BPDUs that go missing are not modelled, as with loop guard.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Fabric, Pending, SwitchId};
use crate::trace::Event;
use crate::wire::End;

impl Fabric {
    /// Computes the trees anew. `at_once`: the LAN is being built, and is found converged.
    pub(super) fn grow_tree(&mut self, at_once: bool) {
        let grown = self.tree();
        for cable in 0..self.cables.len() {
            if !self.cables[cable].is_uplink() {
                continue;
            }
            match grown.converge_of[cable] {
                None => {
                    self.cables[cable].opens = None;
                    self.set_open(cable, false);
                }
                Some(_) if self.is_open(cable) => {}
                Some(_) if at_once => {
                    self.cables[cable].opens = None;
                    self.set_open(cable, true);
                }
                Some(converge) if self.cables[cable].opens.is_none() => {
                    let at = self.now + converge;
                    self.cables[cable].opens = Some(at);
                    self.queue.push(at, Pending::Converged { cable: u32::try_from(cable).unwrap_or(u32::MAX) });
                }
                Some(_) => {}
            }
        }
    }

    /// The time has come for a cable to open, unless the tree changed again.
    pub(super) fn converged(&mut self, cable: usize) {
        if self.cables[cable].opens != Some(self.now) {
            return;
        }
        self.cables[cable].opens = None;
        self.set_open(cable, true);
        let grown = self.tree();
        let here = self.cables[cable].ends.iter().find_map(|end| match end {
            End::Port { switch, .. } => Some(grown.root_of[*switch]),
            End::Nic(_) => None,
        });
        for switch in (0..self.switches.len()).filter(|switch| Some(grown.root_of[*switch]) == here) {
            self.switches[switch].forget_uplinks();
        }
    }

    /// Whether frames pass a cable between two switches, as its ports have it.
    fn is_open(&self, cable: usize) -> bool {
        self.cables[cable].ends.iter().all(|end| match end {
            End::Port { switch, port } => !self.switches[*switch].ports[*port].blocked,
            End::Nic(_) => true,
        })
    }

    /// Opens or blocks both ports of a cable.
    fn set_open(&mut self, cable: usize, open: bool) {
        for end in self.cables[cable].ends {
            let End::Port { switch, port } = end else { continue };
            let blocked = &mut self.switches[switch].ports[port].blocked;
            if *blocked == open {
                *blocked = !open;
                self.trace.record(self.now, &Event::Tree { switch: SwitchId(switch), port, forwarding: open });
            }
        }
    }

    /// The trees that the live cables between switches give.
    fn tree(&self) -> Tree {
        let links = self.links();
        let mut tree = Tree { root_of: vec![usize::MAX; self.switches.len()], converge_of: vec![None; self.cables.len()] };
        for root in 0..self.switches.len() {
            if tree.root_of[root] == usize::MAX {
                self.grow_from(root, &links, &mut tree);
            }
        }
        tree
    }

    /// Every switch's neighbors with the cables to them.
    fn links(&self) -> Vec<Vec<(usize, usize)>> {
        let mut links = vec![Vec::new(); self.switches.len()];
        for (cable, wire) in self.cables.iter().enumerate().filter(|(_, wire)| wire.carrier) {
            if let [End::Port { switch: one, .. }, End::Port { switch: other, .. }] = wire.ends
                && one != other
            {
                links[one].push((other, cable));
                links[other].push((one, cable));
            }
        }
        links
    }

    /// The tree of one root: breadth first, then each switch's best way.
    fn grow_from(&self, root: usize, links: &[Vec<(usize, usize)>], tree: &mut Tree) {
        let mut distance = vec![usize::MAX; links.len()];
        distance[root] = 0;
        let mut reached = vec![root];
        let mut next = VecDeque::from([root]);
        while let Some(switch) = next.pop_front() {
            for (neighbor, _) in &links[switch] {
                if distance[*neighbor] == usize::MAX {
                    distance[*neighbor] = distance[switch] + 1;
                    reached.push(*neighbor);
                    next.push_back(*neighbor);
                }
            }
        }
        let slowest = reached.iter().map(|switch| self.switches[*switch].config.converge).max().unwrap_or_default();
        for switch in reached {
            tree.root_of[switch] = root;
            let nearer = links[switch].iter().filter(|(neighbor, _)| distance[*neighbor].checked_add(1) == Some(distance[switch]));
            if let Some((_, cable)) = nearer.min() {
                tree.converge_of[*cable] = Some(slowest);
            }
        }
    }
}

/// What a computation gave.
struct Tree {
    /// By switch: the root of its tree.
    root_of: Vec<usize>,
    /// By cable: how long its tree takes to converge, if it is part of one.
    converge_of: Vec<Option<Duration>>,
}
