//! What a build says about itself: manifest, SBOM, package list, dependency graph.
