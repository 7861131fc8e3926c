//! PageRank on a generated graph: edges are read one after the other, ranks of
//! pages in any order, some of them far more often than others.

use super::{Done, bytes, digest};
use crate::pattern::mix;

/// Iterations of the ranks.
const ITERATIONS: u32 = 3;

/// Share of rank that follows links.
const DAMPING: f64 = 0.85;

/// Links that lead to a page: between 1 and this.
const MOST_LINKS: u64 = 15;

/// Bytes of a node: 8 links on average, where they begin, how many leave, and
/// two ranks.
const NODE: usize = size_of::<[u32; 8 + 2]>() + size_of::<[f64; 2]>();

/// A graph, by the links that lead to each node.
struct Graph {
    /// Where the links to each node begin, and after the last where they end.
    starts: Vec<u32>,
    /// The node that each link leaves.
    from: Vec<u32>,
    /// How many links leave each node.
    leaving: Vec<u32>,
}

/// Ranks the nodes of a graph of `mib` MiB.
pub fn run(mib: u32) -> Done {
    let graph = Graph::generate((bytes(mib) / NODE) as u32);
    let ranks = graph.ranks();
    let total: f64 = ranks.iter().sum();
    Done {
        checksum: digest(ranks.iter().map(|rank| rank.to_bits())),
        wrong: graph.wrong() + u64::from((total - 1.0).abs() > 1e-6),
    }
}

/// How many links lead to a node.
fn links(node: u32) -> u64 {
    1 + mix(u64::from(node)) % MOST_LINKS
}

/// The node that link `number` leaves; the first are popular.
fn source(number: u32, nodes: u32) -> u32 {
    let random = (mix(!u64::from(number)) >> 11) as f64 / (1u64 << 53) as f64;
    (random * random * f64::from(nodes)) as u32
}

impl Graph {
    fn generate(nodes: u32) -> Graph {
        let mut starts = Vec::with_capacity(nodes as usize + 1);
        starts.push(0);
        let mut end = 0;
        for node in 0..nodes {
            end += links(node) as u32;
            starts.push(end);
        }
        let from: Vec<u32> = (0..end).map(|number| source(number, nodes)).collect();
        let mut leaving = vec![0; nodes as usize];
        for &node in &from {
            leaving[node as usize] += 1;
        }
        Graph {
            starts,
            from,
            leaving,
        }
    }

    fn ranks(&self) -> Vec<f64> {
        let nodes = self.leaving.len();
        let mut ranks = vec![1.0 / nodes as f64; nodes];
        let mut next = vec![0.0; nodes];
        for _ in 0..ITERATIONS {
            let mut kept = 0.0;
            for (rank, &leaving) in ranks.iter_mut().zip(&self.leaving) {
                match leaving {
                    // What nothing leaves goes to all alike.
                    0 => kept += *rank,
                    leaving => *rank /= f64::from(leaving),
                }
            }
            let base = (1.0 - DAMPING + DAMPING * kept) / nodes as f64;
            for (node, ends) in self.starts.windows(2).enumerate() {
                let links = &self.from[ends[0] as usize..ends[1] as usize];
                let arriving: f64 = links.iter().map(|&from| ranks[from as usize]).sum();
                next[node] = base + DAMPING * arriving;
            }
            std::mem::swap(&mut ranks, &mut next);
        }
        ranks
    }

    /// Links that are not those that were generated.
    fn wrong(&self) -> u64 {
        let nodes = self.leaving.len() as u32;
        let links = (0..).zip(&self.from);
        links
            .filter(|&(number, &from)| from != source(number, nodes))
            .count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_add_up_and_come_out_the_same() {
        let done = run(1);
        assert_eq!(done.wrong, 0);
        assert_eq!(done, run(1));
    }

    #[test]
    fn a_page_that_two_link_to_ranks_above_one_that_none_does() {
        // 0 and 1 link to 2, 2 links to 0.
        let graph = Graph {
            starts: vec![0, 1, 1, 3],
            from: vec![2, 0, 1],
            leaving: vec![1, 1, 1],
        };
        let ranks = graph.ranks();
        assert!((ranks.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{ranks:?}");
        assert!(ranks[2] > ranks[0] && ranks[0] > ranks[1], "{ranks:?}");
    }

    #[test]
    fn a_link_that_changed_is_found() {
        let mut graph = Graph::generate(100);
        assert_eq!(graph.wrong(), 0);
        graph.from[7] ^= 1;
        assert_eq!(graph.wrong(), 1);
    }
}
