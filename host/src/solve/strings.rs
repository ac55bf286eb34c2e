//! Strings by number: a table that only grows, and an interner that fills it without duplicates.

use std::hash::{BuildHasher, RandomState};

/// No more text fits into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableFull;

/// Strings, back to back in one text, numbered from 0. At most 4 GiB in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StringTable {
    text: String,
    /// Where each string ends; it begins where the one before ends.
    ends: Vec<u32>,
}

impl StringTable {
    /// Returns a table of its parts, none when the ends do not fit the text.
    pub(super) fn from_parts(text: String, ends: Vec<u32>) -> Option<Self> {
        let ascending = ends.windows(2).all(|pair| pair[0] <= pair[1]);
        let complete = ends.last().copied().unwrap_or(0) as usize == text.len();
        let whole = ends.iter().all(|&end| text.is_char_boundary(end as usize));
        (ascending && complete && whole).then_some(Self { text, ends })
    }

    /// Returns all strings, back to back.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the ends of the strings in [`Self::text`].
    pub(super) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Returns how many strings there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns a string. The number must be one that this table gave.
    pub(super) fn get(&self, id: u32) -> &str {
        let at = id as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start as usize..self.ends[at] as usize]
    }

    /// Adds a string and returns its number.
    pub(super) fn push(&mut self, string: &str) -> Result<u32, TableFull> {
        let id = u32::try_from(self.ends.len()).map_err(|_| TableFull)?;
        let end = u32::try_from(self.text.len() + string.len()).map_err(|_| TableFull)?;
        self.text.push_str(string);
        self.ends.push(end);
        Ok(id)
    }

    /// Adds all strings of another table; their numbers grow by the length of this one.
    pub(super) fn append(&mut self, other: &Self) -> Result<(), TableFull> {
        let fits = |length: usize| u32::try_from(length).is_ok();
        if !fits(self.text.len() + other.text.len()) || !fits(self.ends.len() + other.ends.len()) {
            return Err(TableFull);
        }
        self.text.reserve_exact(other.text.len());
        self.ends.reserve_exact(other.ends.len());
        let shift = self.ends.last().copied().unwrap_or(0);
        self.text.push_str(&other.text);
        self.ends.extend(other.ends.iter().map(|end| end + shift));
        Ok(())
    }

    /// Gives back what growing took in advance.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// Marks a free place of the hash table.
const FREE: Place = Place { id: u32::MAX, hash: 0 };

/// A place of the hash table. The hash is kept, so that growing and passing by other strings read no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    id: u32,
    hash: u32,
}

/// A string table in which each string occurs once. Numbers are given in the order of first mention.
#[derive(Debug, Clone)]
pub(super) struct Interner {
    strings: StringTable,
    /// Open addressing with linear probing; a power of two, at most half full. The hasher is keyed at random, so that the
    /// author of an index cannot choose names that collide.
    places: Vec<Place>,
    hasher: RandomState,
}

impl Default for Interner {
    fn default() -> Self {
        Self { strings: StringTable::default(), places: vec![FREE; 1024], hasher: RandomState::new() }
    }
}

impl Interner {
    /// Returns the strings.
    pub(super) fn strings(&self) -> &StringTable {
        &self.strings
    }

    /// Returns the strings alone.
    pub(super) fn into_strings(mut self) -> StringTable {
        self.strings.shrink();
        self.strings
    }

    /// Returns the number of `string`, none when it was never added.
    pub(super) fn find(&self, string: &str) -> Option<u32> {
        let place = self.places[self.place(string, self.hash(string))];
        (place != FREE).then_some(place.id)
    }

    /// Returns the number of `string`, adding it if it is new.
    pub(super) fn intern(&mut self, string: &str) -> Result<u32, TableFull> {
        let hash = self.hash(string);
        let place = self.place(string, hash);
        if self.places[place] != FREE {
            return Ok(self.places[place].id);
        }
        let id = self.strings.push(string)?;
        self.places[place] = Place { id, hash };
        if self.strings.len() * 2 > self.places.len() {
            self.grow();
        }
        Ok(id)
    }

    /// Returns the place that holds `string`, or the free one where it belongs.
    fn place(&self, string: &str, hash: u32) -> usize {
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let place = self.places[at];
            if place == FREE || place.hash == hash && self.strings.get(place.id) == string {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    fn hash(&self, string: &str) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer places than low bits")]
        {
            self.hasher.hash_one(string) as u32
        }
    }

    fn grow(&mut self) {
        let mask = self.places.len() * 2 - 1;
        let mut places = vec![FREE; mask + 1];
        for &place in self.places.iter().filter(|&&place| place != FREE) {
            let mut at = place.hash as usize & mask;
            while places[at] != FREE {
                at = (at + 1) & mask;
            }
            places[at] = place;
        }
        self.places = places;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_get_equal_numbers_in_order_of_mention() {
        let mut interner = Interner::default();
        let ids: Vec<_> = (0..5000).map(|n| interner.intern(&format!("name{}", n % 2500)).unwrap()).collect();
        assert_eq!(ids[..2500], ids[2500..]);
        assert!(ids[..2500].iter().copied().eq(0..2500));
        assert_eq!(interner.find("name7"), Some(7));
        assert_eq!(interner.find("name9999"), None);
        assert_eq!(interner.into_strings().get(2499), "name2499");
    }

    #[test]
    fn parts_that_do_not_fit_make_no_table() {
        for (text, ends) in [("ab", vec![1, 3]), ("ab", vec![2, 1]), ("ab", vec![1]), ("é", vec![1, 2]), ("a", vec![])] {
            assert_eq!(StringTable::from_parts(text.to_owned(), ends.clone()), None, "{text} {ends:?}");
        }
        assert_eq!(StringTable::from_parts("abc".to_owned(), vec![1, 1, 3]).unwrap().get(2), "bc");
    }
}
