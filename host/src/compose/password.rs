//! Passwords, hashed on the host: plain text reaches neither the guest nor any file.

use oic_config::spec::{Password, PasswordHash};
use oic_protocol::AccountPassword;
use sha_crypt::{PasswordHasher as _, ShaCrypt};
use sha2::{Digest as _, Sha256};

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("cannot hash the password of user `{user}` with {algorithm:?}: {reason}")]
pub struct PasswordError {
    /// The user.
    pub user: String,
    /// The algorithm.
    pub algorithm: PasswordHash,
    /// What the implementation said.
    pub reason: String,
}

/// Returns the shadow entry for `password`.
///
/// The salt is derived from the image, the user and the password itself, so that the same template gives the same bytes. It
/// differs between users and images; who does not know the password cannot foresee it.
///
/// # Errors
/// Fails when the implementation of the hash refuses the password.
pub(crate) fn lower(image: &str, user: &str, password: &Password) -> Result<AccountPassword, PasswordError> {
    let (text, hash) = match password {
        Password::Locked => return Ok(AccountPassword::Locked),
        Password::Hashed(hash) => return Ok(AccountPassword::Hash(hash.clone())),
        Password::Plain { text, hash } => (text, *hash),
    };
    let mut hasher = Sha256::new();
    for part in ["oic password salt", image, user, text] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let salt = &hasher.finalize()[..12];
    let result = match hash {
        PasswordHash::Sha512 => ShaCrypt::SHA512.hash_password_with_salt(text.as_bytes(), salt),
        PasswordHash::Sha256 => ShaCrypt::SHA256.hash_password_with_salt(text.as_bytes(), salt),
        PasswordHash::Yescrypt => yescrypt::Yescrypt::default().hash_password_with_salt(text.as_bytes(), salt),
    };
    match result {
        Ok(hash) => Ok(AccountPassword::Hash(hash.as_str().to_owned())),
        Err(error) => Err(PasswordError { user: user.to_owned(), algorithm: hash, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(image: &str, user: &str, text: &str, hash: PasswordHash) -> String {
        match lower(image, user, &Password::Plain { text: text.into(), hash }).unwrap() {
            AccountPassword::Hash(hash) => hash,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hashes_are_stable_and_salted_by_image_user_and_password() {
        let first = hash("image", "ada", "secret", PasswordHash::Sha512);
        assert!(first.starts_with("$6$"), "{first}");
        assert_eq!(first, hash("image", "ada", "secret", PasswordHash::Sha512));
        let salt = |hash: &str| hash.rsplit_once('$').unwrap().0.to_owned();
        for other in [hash("other", "ada", "secret", PasswordHash::Sha512), hash("image", "bob", "secret", PasswordHash::Sha512)] {
            assert_ne!(salt(&first), salt(&other));
        }
        assert!(hash("image", "ada", "secret", PasswordHash::Yescrypt).starts_with("$y$"));
        assert!(hash("image", "ada", "secret", PasswordHash::Sha256).starts_with("$5$"));
    }

    /// `openssl passwd -6` is the oracle: same salt, same hash.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the oracle is a program")]
    fn sha512_agrees_with_openssl() {
        let ours = hash("image", "ada", "secret", PasswordHash::Sha512);
        let salt = ours.split('$').rev().nth(1).unwrap();
        let Ok(output) = std::process::Command::new("openssl").args(["passwd", "-6", "-salt", salt, "secret"]).output() else {
            eprintln!("skipped: no openssl here");
            return;
        };
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert_eq!(ours.replace("$rounds=5000", ""), theirs.trim());
    }
}
