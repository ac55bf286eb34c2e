//! The order in which packages are unpacked and configured.

use std::collections::BTreeMap;

use super::{MergeError, Package, files};

/// Returns the packages' indexes: those that ship the links of the merged `/usr`, then every package after its dependencies.
pub(super) fn unpack_order(packages: &[Package]) -> Result<Vec<usize>, MergeError> {
    let dependencies = dependencies(packages, &["Pre-Depends", "Depends"])?;
    let mut starts: Vec<usize> = (0..packages.len()).collect();
    starts.sort_by_key(|index| {
        let package = &packages[*index];
        (!files::ships_usr_links(package), !package.is_essential, &package.name, &package.architecture)
    });
    let mut order: Vec<usize> = starts.iter().copied().filter(|index| files::ships_usr_links(&packages[*index])).collect();
    let mut placed = vec![false; packages.len()];
    order.iter().for_each(|index| placed[*index] = true);
    for start in starts {
        // A walk down the dependencies with its own stack; whoever is entered is not entered again, which breaks cycles.
        let mut entered = vec![(start, 0)];
        if std::mem::replace(&mut placed[start], true) {
            continue;
        }
        while let Some((index, next)) = entered.last_mut() {
            if let Some(dependency) = dependencies[*index].get(*next) {
                *next += 1;
                if !std::mem::replace(&mut placed[*dependency], true) {
                    entered.push((*dependency, 0));
                }
            } else {
                order.push(*index);
                entered.pop();
            }
        }
    }
    Ok(order)
}

/// Returns for each package the packages of the set that satisfy its relations, in the order of the fields.
pub(super) fn dependencies(packages: &[Package], fields: &[&'static str]) -> Result<Vec<Vec<usize>>, MergeError> {
    let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut provided: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, package) in packages.iter().enumerate() {
        named.entry(&package.name).or_default().push(index);
        for relation in relations(package, "Provides")?.into_iter().flatten() {
            provided.entry(relation.name).or_default().push(index);
        }
    }
    let mut all = Vec::with_capacity(packages.len());
    for package in packages {
        let mut satisfying = Vec::new();
        for field in fields {
            for group in relations(package, field)? {
                let candidates = group.iter().flat_map(|relation| {
                    let real = named.get(&*relation.name).into_iter().flatten().copied();
                    let real = real.filter(|index| relation.is_satisfied_by(&packages[*index].version));
                    real.chain(provided.get(&relation.name).into_iter().flatten().copied())
                });
                let own = candidates.clone().find(|index| packages[*index].architecture == package.architecture);
                satisfying.extend(own.or_else(|| candidates.clone().next()));
            }
        }
        all.push(satisfying);
    }
    Ok(all)
}

fn relations(package: &Package, field: &str) -> Result<Vec<Vec<super::super::control::Relation>>, MergeError> {
    package.stanza.relations(field).map_err(|source| MergeError::Control { package: package.name.clone(), source })
}
