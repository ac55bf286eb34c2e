//! Everything the user types and sees; the only module that prints.
