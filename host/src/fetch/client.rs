//! The HTTP client.

use std::time::Duration;

use super::{FetchError, Settings};

/// How many redirects in a row are followed.
const REDIRECT_LIMIT: usize = 8;

/// How long a server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Makes the client.
///
/// A machine without any certificates cannot use `https`, but `http` mirrors work there: signatures are what protects
/// packages. So the absence of certificates is no reason to fail before a URL needs them.
pub(super) fn build(settings: &Settings) -> Result<reqwest::Client, FetchError> {
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("oic/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::limited(REDIRECT_LIMIT))
            .connect_timeout(settings.stall.min(CONNECT_LIMIT))
            .pool_max_idle_per_host(settings.workers)
            .referer(false)
    };
    builder().build().or_else(|error| {
        tracing::debug!(%error, "no certificates: https will not work");
        builder().tls_certs_only([]).build().map_err(|source| FetchError::Client { source })
    })
}
