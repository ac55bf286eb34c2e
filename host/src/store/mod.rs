//! The content-addressed cache on the host.
