//! The solver: which packages satisfy a request. Pure, no I/O.
