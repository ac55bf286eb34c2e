//! Names that a user may have meant.

use crate::solve::universe::Universe;

/// How many names are offered.
const OFFERED: usize = 3;

/// The longest name that is compared; package names are shorter.
const LONGEST: usize = 100;

/// Returns the names that are most like `wanted`, the likest first.
pub(super) fn similar_names(universe: &Universe, wanted: &str) -> Vec<String> {
    likest(universe.package_names(), wanted)
}

/// Returns those of some names that are most like `wanted`, the likest first.
pub(in crate::solve) fn likest<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Vec<String> {
    if wanted.len() > LONGEST {
        return Vec::new();
    }
    let limit = (wanted.len() / 4).clamp(1, 3);
    let lower = wanted.to_ascii_lowercase();
    let near = |name: &str| {
        (name.len() <= LONGEST && name.len().abs_diff(lower.len()) <= limit).then(|| distance(&lower, name)).filter(|&d| d <= limit)
    };
    let mut near: Vec<_> = names.filter_map(|name| Some((near(name)?, name))).collect();
    near.sort_unstable();
    near.into_iter().take(OFFERED).map(|(_, name)| name.to_owned()).collect()
}

/// Returns how many letters must be added, removed, replaced or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &r) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(l != r);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && l == right[column - 1] && left[row - 1] == r {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        (before, above) = (above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distance_counts_single_slips() {
        for (left, right, expected) in
            [("vim", "vim", 0), ("vmi", "vim", 1), ("openssh", "opensh", 1), ("", "ab", 2), ("nginx", "ngxin", 2)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
