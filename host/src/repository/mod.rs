//! Package repositories: signed metadata, verified link by link.
