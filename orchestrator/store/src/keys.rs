//! Sealing: the master key wraps one data key per cluster generation; the data key seals that generation's
//! secrets.
//!
//! The master key is stored beside the database with mode 0600 and is never part of a backup. Deleting a
//! generation's wrapped data key destroys its secrets.

use crate::{
    Error, Result,
    file::{open_regular, remove, sync_folder},
};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use chainpool_agent::Secret;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};
use zeroize::Zeroizing;

/// The length of a key in bytes.
const KEY: u64 = 32;
const NONCE: usize = 24;

/// Restricts a file's permissions to its owner.
fn restrict_to_owner(file: &fs::File, path: &Path) -> Result<()> {
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{:o}", permissions.mode() & 0o7777), "the key was readable by other users; its mode is now 0600");
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

/// A 32-byte sealing key.
#[derive(Clone)]
pub struct Key(Secret<[u8; 32]>);

impl Key {
    /// Generates a random key.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|e| Error::Key(format!("the operating system returned no random bytes: {e}")))?;
        Ok(Self(Secret::new(bytes)))
    }

    /// Reads the key file; `None` if it does not exist.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let file = match open_regular(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        restrict_to_owner(&file, path)?;
        // Read one byte more than a key has, to detect a longer file.
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        file.take(KEY + 1).read_to_end(&mut bytes)?;
        Self::from_bytes(&bytes)
            .map(Some)
            .ok_or_else(|| Error::Key(format!("{} is not a 32-byte key", path.display())))
    }

    /// Reads the key file, or creates it (0600) if it does not exist.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let key = Self::random()?;
        // Written atomically: half a key would be refused permanently.
        let fresh = path.with_extension("key.tmp");
        remove(&fresh)?;
        if let Err(error) = key.write(&fresh).and_then(|()| fs::rename(&fresh, path)) {
            remove(&fresh)?;
            return Err(error.into());
        }
        path.parent().map_or(Ok(()), sync_folder)?;
        Ok(key)
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(self.0.expose())?;
        file.sync_all()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Secret::new(bytes)))
    }

    /// Returns an identifier that does not reveal the key.
    pub fn id(&self) -> String {
        hex::encode(
            &Sha256::new()
                .chain_update(b"chainpool key id")
                .chain_update(self.0.expose())
                .finalize()[..8],
        )
    }

    /// Seals bytes for one purpose; only the same purpose opens them.
    pub fn seal(&self, purpose: &str, clear: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)
            .map_err(|e| Error::Key(format!("the operating system returned no random bytes: {e}")))?;
        let sealed = self
            .cipher()
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: clear,
                    aad: purpose.as_bytes(),
                },
            )
            .map_err(|_| Error::Key("sealing failed".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens bytes sealed for the same purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>> {
        let broken = || {
            Error::Key(format!(
                "cannot unseal {purpose:?} with this master key; restore the master.key that belongs to this database"
            ))
        };
        let (nonce, rest) = sealed.split_at_checked(NONCE).ok_or_else(broken)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| broken())?;
        self.cipher()
            .decrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: rest,
                    aad: purpose.as_bytes(),
                },
            )
            .map(Secret::new)
            .map_err(|_| broken())
    }

    /// Wraps another key.
    pub fn wrap(&self, purpose: &str, key: &Self) -> Result<Vec<u8>> {
        self.seal(purpose, key.0.expose())
    }

    /// Unwraps another key.
    pub fn unwrap(&self, purpose: &str, wrapped: &[u8]) -> Result<Self> {
        Self::from_bytes(self.open(purpose, wrapped)?.expose())
            .ok_or_else(|| Error::Key("a wrapped key has the wrong length".to_owned()))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.expose().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_open_only_with_their_key_and_purpose() -> Result<()> {
        let (key, other) = (Key::random()?, Key::random()?);
        let sealed = key.seal("a", b"secret")?;
        assert_eq!(key.open("a", &sealed)?.expose(), b"secret");
        assert!(key.open("b", &sealed).is_err());
        assert!(other.open("a", &sealed).is_err());
        assert!(key.open("a", &sealed[..10]).is_err());
        Ok(())
    }
}
