//! What a build says about itself: manifest, SBOM, package list, dependency graph.
//!
//! ```text
//! manifest.json    what went in and what came out, by digest      [`manifest`]
//! sbom.spdx.json   the packages inside, SPDX 2.3                  [`spdx`]
//! packages.txt     the packages inside, one per line              [`packages`]
//! deps.dot         who depends on whom, for Graphviz              [`dot`]
//! deps.svg         the same, drawn                                [`graph`]
//! timing.html      how long everything took, for `--timing`       [`timing`]
//! SHA256SUMS       digests of the outputs, for `sha256sum -c`     [`checksums`]
//! ```
//!
//! Every writer is a pure function from plain structs to bytes. The bytes depend on the lock and the outputs alone: no wall
//! clock, no path of the host, no order that is not sorted.

pub mod checksums;
pub mod dot;
pub mod graph;
pub mod manifest;
pub mod packages;
pub mod page;
pub mod relations;
pub mod spdx;
pub mod timing;
