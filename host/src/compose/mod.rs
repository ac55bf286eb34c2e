//! Lowers an image spec and a lock to the steps of the wire protocol.
