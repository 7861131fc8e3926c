//! k-means (Lloyd's iterations): all points are read one after the other, again
//! and again, the centres stay in the cache.

use super::{Done, bytes, digest};
use crate::pattern::mix;

const DIMENSIONS: usize = 8;
const CLUSTERS: usize = 8;
const ITERATIONS: u32 = 3;

type Point = [f32; DIMENSIONS];

/// Finds the clusters of `mib` MiB of points.
pub fn run(mib: u32) -> Done {
    let count = (bytes(mib) / size_of::<Point>()) as u64;
    let points: Vec<Point> = (0..count).map(point).collect();
    let centres = (0..ITERATIONS).fold(first_centres(), |centres, _| step(&points, &centres));
    let coordinates = centres.iter().flatten();
    Done {
        checksum: digest(coordinates.map(|x| u64::from(x.to_bits()))),
        wrong: wrong(&points),
    }
}

/// A point near one of the corners that the clusters are at.
fn point(number: u64) -> Point {
    let corner = mix(number) as usize % CLUSTERS;
    std::array::from_fn(|axis| {
        let noise = mix(number * DIMENSIONS as u64 + axis as u64) >> 40;
        let at = if axis == corner { 10.0 } else { 0.0 };
        at + noise as f32 / (1 << 24) as f32
    })
}

fn first_centres() -> Vec<Point> {
    (0..CLUSTERS as u64).map(|n| point(n * 17)).collect()
}

/// The means of the points that are nearest to each centre.
fn step(points: &[Point], centres: &[Point]) -> Vec<Point> {
    let mut sums = vec![([0.0f64; DIMENSIONS], 0u64); centres.len()];
    for point in points {
        let (sum, count) = &mut sums[nearest(point, centres)];
        for (sum, x) in sum.iter_mut().zip(point) {
            *sum += f64::from(*x);
        }
        *count += 1;
    }
    let means = sums.iter().zip(centres);
    means
        .map(|((sum, count), centre)| match count {
            0 => *centre,
            count => sum.map(|sum| (sum / *count as f64) as f32),
        })
        .collect()
}

fn nearest(point: &Point, centres: &[Point]) -> usize {
    let distance = |centre: &Point| -> f32 {
        let along = point.iter().zip(centre);
        along.map(|(a, b)| (a - b) * (a - b)).sum()
    };
    let by_distance = centres.iter().map(distance).enumerate();
    by_distance
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map_or(0, |(index, _)| index)
}

fn wrong(points: &[Point]) -> u64 {
    let numbered = (0..).zip(points);
    numbered.filter(|&(n, found)| *found != point(n)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_come_out_the_same() {
        let done = run(1);
        assert_eq!(done.wrong, 0);
        assert_eq!(done, run(1));
    }

    #[test]
    fn two_heaps_have_their_means() {
        let at = |x| [x; DIMENSIONS];
        let points = [at(0.0), at(2.0), at(10.0), at(12.0)];
        assert_eq!(step(&points, &[at(1.5), at(9.0)]), [at(1.0), at(11.0)]);
        let unused = at(1000.0);
        assert_eq!(step(&points, &[at(6.0), unused])[1], unused);
    }

    #[test]
    fn a_point_that_moved_is_found() {
        let mut points: Vec<Point> = (0..100).map(point).collect();
        assert_eq!(wrong(&points), 0);
        points[42][3] += 1.0;
        assert_eq!(wrong(&points), 1);
    }
}
