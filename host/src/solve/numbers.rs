//! How the universes of both families number names and packages.

use super::strings::{Interner, StringTable, TableFull};

/// The number of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameId(pub(super) u32);

/// The number of a package: one version of a name in one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PackageId(pub(super) u32);

impl NameId {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

impl PackageId {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// The indexes hold more than can be numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the package indexes together are too large: more than 4 GiB of names or 2^32 packages")]
pub struct UniverseTooLarge;

impl From<TableFull> for UniverseTooLarge {
    fn from(TableFull: TableFull) -> Self {
        Self
    }
}

/// Where a package is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Number of the repository.
    pub(super) repository: usize,
    /// Number in that repository's index.
    pub(super) at: usize,
    pub(super) name: NameId,
}

/// The packages of several indexes under one numbering.
#[derive(Debug, Default)]
pub(super) struct Packages {
    packed: Vec<(u32, u32, NameId)>,
}

impl Packages {
    /// Numbers one more package.
    pub(super) fn push(&mut self, place: Place) -> Result<PackageId, UniverseTooLarge> {
        let number = |at: usize| u32::try_from(at).map_err(|_| UniverseTooLarge);
        let id = PackageId(number(self.packed.len())?);
        self.packed.push((number(place.repository)?, number(place.at)?, place.name));
        Ok(id)
    }

    pub(super) fn len(&self) -> usize {
        self.packed.len()
    }

    /// Returns all numbers.
    pub(super) fn ids(&self) -> impl Iterator<Item = PackageId> + Clone + use<> {
        #[expect(clippy::cast_possible_truncation, reason = "numbers of packages have 32 bits")]
        let count = self.packed.len() as u32;
        (0..count).map(PackageId)
    }

    pub(super) fn place(&self, id: PackageId) -> Place {
        let (repository, at, name) = self.packed[id.at()];
        Place { repository: repository as usize, at: at as usize, name }
    }
}

/// Gives each name of an index its number among the names of all indexes; `plain` says what a name means.
pub(super) fn number_names<'a>(
    strings: &'a StringTable,
    names: &mut Interner,
    plain: impl Fn(&'a str) -> &'a str,
) -> Result<Vec<NameId>, TableFull> {
    let mut numbers = Vec::with_capacity(strings.len());
    for local in 0..strings.len() {
        #[expect(clippy::cast_possible_truncation, reason = "a string table numbers its strings with 32 bits")]
        let name = strings.get(local as u32);
        numbers.push(NameId(names.intern(plain(name))?));
    }
    Ok(numbers)
}
