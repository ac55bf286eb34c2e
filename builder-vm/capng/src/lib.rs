//! Process capabilities, with the part of the `capng` crate's interface that the `virtiofsd` library calls.
//!
//! The published `capng` wraps the C library libcap-ng, whose development files only root can install. Building `oic`
//! must need nothing but a C compiler, so `[patch.crates-io]` of the workspace puts this crate in its place. It does
//! the same with `capget(2)`, `capset(2)` and `prctl(PR_CAPBSET_DROP)` alone.
//!
//! # Model
//!
//! As in libcap-ng, every thread has a working copy of its capabilities: [`get_caps_process`] reads it from the kernel
//! (which also happens on first use), [`clear`] and [`update`] change it, [`apply`] hands it back to the kernel.
//!
//! Functions that `virtiofsd` as a library never calls (file capabilities, locking, changing ids, printing) are absent: a
//! later `virtiofsd` that needs one fails to build instead of running with something that only looks right.

#![deny(missing_docs)]

use std::{
    cell::RefCell,
    ops::{BitOr, BitOrAssign},
};

use rustix::thread::{CapabilitySet, CapabilitySets};

/// The number of a capability, as in `linux/capability.h`.
pub type Capability = u32;

/// Why capabilities could not be read or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel refused to take the working copy.
    #[error("cannot apply the capabilities of this thread: {0}")]
    ApplyCapabilities(rustix::io::Errno),
    /// The kernel did not tell the capabilities.
    #[error("cannot read the capabilities of this thread: {0}")]
    GetProcessCapabilities(rustix::io::Errno),
    /// No capability has this name.
    #[error("no capability has this name")]
    GetCapabilityId,
    /// No capability has this number.
    #[error("there is no capability {0}")]
    UpdateCapability(Capability),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// One or more of a thread's capability sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type(u8);

impl Type {
    /// What the kernel checks.
    pub const EFFECTIVE: Self = Self(1);
    /// What may be made effective.
    pub const PERMITTED: Self = Self(2);
    /// What is kept when a program with file capabilities is executed.
    pub const INHERITABLE: Self = Self(4);
    /// The limit of what executing a program may grant.
    pub const BOUNDING_SET: Self = Self(8);

    /// Returns whether all sets of `other` are among these.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Type {
    type Output = Self;

    fn bitor(mut self, other: Self) -> Self {
        self |= other;
        self
    }
}

impl BitOrAssign for Type {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What [`clear`] and [`apply`] are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// The effective, permitted and inheritable sets.
    CAPS,
    /// The bounding set.
    BOUNDS,
    /// All of them.
    BOTH,
}

impl Set {
    fn has_caps(self) -> bool {
        self != Self::BOUNDS
    }

    fn has_bounds(self) -> bool {
        self != Self::CAPS
    }
}

/// What an update does with a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Takes it away.
    DROP,
    /// Adds it.
    ADD,
}

/// A change of one capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CUpdate {
    /// What to do.
    pub action: Action,
    /// In which sets.
    pub cap_type: Type,
    /// With which capability.
    pub capability: Capability,
}

/// The working copy of a thread.
#[derive(Debug, Clone, Copy)]
struct State {
    sets: CapabilitySets,
    bounding: CapabilitySet,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Asks the kernel for the capabilities of this thread.
fn read_state() -> Result<State> {
    let sets = rustix::thread::capabilities(None).map_err(Error::GetProcessCapabilities)?;
    let mut bounding = CapabilitySet::empty();
    for capability in all() {
        // The kernel answers EINVAL for capabilities that are newer than it is.
        if rustix::thread::capability_is_in_bounding_set(capability).unwrap_or(false) {
            bounding |= capability;
        }
    }
    Ok(State { sets, bounding })
}

/// Lets `change` work on the thread's working copy, read from the kernel if there is none yet.
fn with_state<T>(change: impl FnOnce(&mut State) -> T) -> Result<T> {
    STATE.with_borrow_mut(|slot| {
        let mut state = match *slot {
            Some(state) => state,
            None => read_state()?,
        };
        let result = change(&mut state);
        *slot = Some(state);
        Ok(result)
    })
}

/// Yields every capability that has a name, one at a time.
fn all() -> impl Iterator<Item = CapabilitySet> {
    CapabilitySet::all().iter_names().map(|(_, capability)| capability)
}

/// Returns the set that holds only the capability with this number.
fn single(capability: Capability) -> Result<CapabilitySet> {
    let bits = 1_u64.checked_shl(capability).ok_or(Error::UpdateCapability(capability))?;
    all().find(|known| known.bits() == bits).ok_or(Error::UpdateCapability(capability))
}

/// Empties `set` in the working copy.
pub fn clear(set: Set) {
    let none = CapabilitySet::empty();
    // Nothing of what was there is kept, so that a kernel which does not tell it is no obstacle.
    STATE.with_borrow_mut(|slot| {
        let mut state = slot
            .or_else(|| read_state().ok())
            .unwrap_or(State { sets: CapabilitySets { effective: none, permitted: none, inheritable: none }, bounding: none });
        if set.has_caps() {
            state.sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        }
        if set.has_bounds() {
            state.bounding = none;
        }
        *slot = Some(state);
    });
}

/// Reads the working copy from the kernel.
///
/// # Errors
/// Fails when the kernel does not tell the capabilities of this thread.
pub fn get_caps_process() -> Result<()> {
    let state = read_state()?;
    STATE.with_borrow_mut(|slot| *slot = Some(state));
    Ok(())
}

/// Changes the working copy.
///
/// # Errors
/// Fails when an update names a capability that does not exist, or the kernel does not tell the present ones.
pub fn update(updates: Vec<CUpdate>) -> Result<()> {
    for update in updates {
        let capability = single(update.capability)?;
        let add = update.action == Action::ADD;
        with_state(|state| {
            let State { sets, bounding } = state;
            let targets = [
                (Type::EFFECTIVE, &mut sets.effective),
                (Type::PERMITTED, &mut sets.permitted),
                (Type::INHERITABLE, &mut sets.inheritable),
                (Type::BOUNDING_SET, bounding),
            ];
            for (kind, target) in targets {
                if update.cap_type.contains(kind) {
                    target.set(capability, add);
                }
            }
        })?;
    }
    Ok(())
}

/// Hands the working copy to the kernel. The bounding set goes first, while the right to change it is still there.
///
/// # Errors
/// Fails when the kernel refuses.
pub fn apply(set: Set) -> Result<()> {
    let state = with_state(|state| *state)?;
    if set.has_bounds() {
        for capability in all().filter(|capability| !state.bounding.contains(*capability)) {
            if rustix::thread::capability_is_in_bounding_set(capability).unwrap_or(false) {
                rustix::thread::remove_capability_from_bounding_set(capability).map_err(Error::ApplyCapabilities)?;
            }
        }
    }
    if set.has_caps() {
        rustix::thread::set_capabilities(None, state.sets).map_err(Error::ApplyCapabilities)?;
    }
    Ok(())
}

/// Returns whether the working copy has a capability in the set `which`.
#[must_use]
pub fn have_capability(which: Type, capability: Capability) -> bool {
    let Ok(capability) = single(capability) else { return false };
    with_state(|state| match which {
        Type::EFFECTIVE => state.sets.effective.contains(capability),
        Type::PERMITTED => state.sets.permitted.contains(capability),
        Type::INHERITABLE => state.sets.inheritable.contains(capability),
        Type::BOUNDING_SET => state.bounding.contains(capability),
        _ => false,
    })
    .unwrap_or(false)
}

/// Returns the number of the capability with this name, written as in `linux/capability.h` without `CAP_`, in any case.
///
/// # Errors
/// Fails when no capability has this name.
pub fn name_to_capability(name: &str) -> Result<Capability> {
    CapabilitySet::all()
        .iter_names()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, set)| set.bits().trailing_zeros())
        .ok_or(Error::GetCapabilityId)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one of the `Cap…` masks of this thread from the kernel by another way.
    fn mask(field: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    }

    #[test]
    fn names_are_those_of_the_kernel_header() {
        for (name, number) in [("CHOWN", 0), ("fsetid", 4), ("DAC_READ_SEARCH", 2), ("SYS_ADMIN", 21), ("CHECKPOINT_RESTORE", 40)] {
            assert_eq!(name_to_capability(name), Ok(number), "{name}");
        }
        assert_eq!(name_to_capability("CAP_CHOWN"), Err(Error::GetCapabilityId));
        assert_eq!(name_to_capability(""), Err(Error::GetCapabilityId));
    }

    #[test]
    fn the_working_copy_starts_as_the_kernel_has_it() {
        let effective = mask("CapEff");
        let bounding = mask("CapBnd");
        for capability in 0..41 {
            assert_eq!(have_capability(Type::EFFECTIVE, capability), effective >> capability & 1 == 1, "{capability}");
            assert_eq!(have_capability(Type::BOUNDING_SET, capability), bounding >> capability & 1 == 1, "{capability}");
        }
        assert!(!have_capability(Type::EFFECTIVE, 63));
        assert!(!have_capability(Type::EFFECTIVE, 64));
    }

    #[test]
    fn what_is_dropped_is_gone_in_the_kernel_and_comes_back_from_the_permitted_set() {
        // Capabilities belong to the thread, and tests have one each.
        let before = mask("CapEff");
        let fsetid = name_to_capability("FSETID").unwrap();
        let change = |action| update(vec![CUpdate { action, cap_type: Type::EFFECTIVE, capability: fsetid }]);
        change(Action::DROP).unwrap();
        assert!(!have_capability(Type::EFFECTIVE, fsetid));
        assert_eq!(mask("CapEff"), before, "nothing happens before apply");
        apply(Set::CAPS).unwrap();
        assert_eq!(mask("CapEff"), before & !(1 << fsetid));
        change(Action::ADD).unwrap();
        if mask("CapPrm") >> fsetid & 1 == 1 {
            apply(Set::CAPS).unwrap();
            assert_eq!(mask("CapEff"), before);
        } else {
            assert!(matches!(apply(Set::CAPS), Err(Error::ApplyCapabilities(_))));
        }
    }

    #[test]
    fn clearing_everything_leaves_nothing() {
        clear(Set::CAPS);
        apply(Set::CAPS).unwrap();
        assert_eq!((mask("CapEff"), mask("CapPrm"), mask("CapInh")), (0, 0, 0));
        get_caps_process().unwrap();
        assert!(!have_capability(Type::PERMITTED, 0));
    }

    #[test]
    fn an_unknown_number_is_refused() {
        let update_of = |capability| update(vec![CUpdate { action: Action::ADD, cap_type: Type::EFFECTIVE, capability }]);
        assert_eq!(update_of(200), Err(Error::UpdateCapability(200)));
        assert_eq!(update_of(55), Err(Error::UpdateCapability(55)));
    }
}
