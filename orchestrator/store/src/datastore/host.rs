//! Hosts.

use crate::{
    Conn, HostRow, Key, Result, Tx,
    datastore::{containing, page_size, save::save},
    entity::host,
};
use chainpool_agent::{RegistryLogin, Secret, Tls};
use chainpool_api::{HostFilter, Noun};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// A host's secrets, sealed with the master key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HostSecrets {
    /// Mutual TLS with the engine.
    pub tls: Option<Tls>,
    /// The login for an image registry.
    #[serde(default, deserialize_with = "login")]
    pub registry: Option<RegistryLogin>,
    /// Credentials for a Kubernetes cluster: the text of a kubeconfig.
    #[serde(default)]
    pub kubeconfig: Option<Secret<String>>,
}

impl HostSecrets {
    /// Seals them for one host.
    pub fn seal(&self, master: &Key, host: Uuid) -> Result<Vec<u8>> {
        let clear = Secret::new(serde_json::to_vec(self).expect("plain fields"));
        master.seal(&format!("host {host}"), clear.expose())
    }

    /// Opens the secrets of a host.
    pub fn open(master: &Key, host: &HostRow) -> Result<Self> {
        let Some(sealed) = &host.sealed else {
            return Ok(Self::default());
        };
        let clear = master.open(&format!("host {}", host.id), sealed)?;
        let mut secrets: Self = serde_json::from_slice(clear.expose())
            .map_err(|e| crate::Error::Key(format!("cannot read the secrets of host {}: {e}", host.name)))?;
        secrets.assign_login(host.settings.0.mirror.as_deref());
        Ok(secrets)
    }

    /// Assigns a login stored without its registry to the registry of the mirror. Without a mirror the
    /// registry is unknown, so the address stays empty and the login is not used.
    fn assign_login(&mut self, mirror: Option<&str>) {
        let Some(login) = self.registry.as_mut().filter(|login| login.address.is_empty()) else {
            return;
        };
        if let Some(registry) = mirror.and_then(|mirror| mirror.split('/').next()) {
            registry.clone_into(&mut login.address);
        }
    }
}

/// Reads a login; previous versions stored only user and password.
fn login<'de, D: Deserializer<'de>>(stored: D) -> std::result::Result<Option<RegistryLogin>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Login(RegistryLogin),
        WithoutRegistry(String, Secret<String>),
    }
    Ok(Option::<Stored>::deserialize(stored)?.map(|stored| match stored {
        Stored::Login(login) => login,
        Stored::WithoutRegistry(user, password) => RegistryLogin {
            address: String::new(),
            user,
            password,
        },
    }))
}

impl<C: ConnectionTrait> Conn<C> {
    /// A host by its id.
    pub async fn host(&self, id: Uuid) -> Result<Option<HostRow>> {
        Ok(host::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// Reads a host by name or id.
    pub async fn host_named(&self, name: &str) -> Result<Option<HostRow>> {
        if let Some(row) = host::Entity::find()
            .filter(host::Column::Name.eq(name))
            .one(&self.0)
            .await?
        {
            return Ok(Some(row));
        }
        match name.parse() {
            Ok(id) => self.host(id).await,
            Err(_) => Ok(None),
        }
    }

    /// Reads the host with this engine.
    pub async fn host_of_engine(&self, engine_id: &str) -> Result<Option<HostRow>> {
        Ok(host::Entity::find()
            .filter(host::Column::EngineId.eq(engine_id))
            .one(&self.0)
            .await?)
    }

    /// Lists all hosts, oldest first.
    pub async fn hosts(&self) -> Result<Vec<HostRow>> {
        Ok(host::Entity::find()
            .order_by_asc(host::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// Lists one page of hosts, newest first, plus one row if there is a next page.
    pub async fn host_page(&self, filter: &HostFilter) -> Result<Vec<HostRow>> {
        let mut query = host::Entity::find()
            .order_by_desc(host::Column::Id)
            .limit(page_size(filter.limit) + 1);
        if let Some(state) = filter.state {
            query = query.filter(host::Column::State.eq(state.as_str()));
        }
        if let Some(platform) = &filter.platform {
            query = query.filter(host::Column::Platform.eq(platform.as_str()));
        }
        if let Some(search) = &filter.search {
            query = query.filter(host::Column::Name.like(containing(search)));
        }
        if let Some(after) = filter.after.as_ref().and_then(|a| a.parse::<Uuid>().ok()) {
            query = query.filter(host::Column::Id.lt(after));
        }
        Ok(query.all(&self.0).await?)
    }
}

impl Tx {
    /// Adds a host, led by this process.
    pub async fn host_insert(&mut self, row: HostRow) -> Result<()> {
        self.changed(Noun::Host, row.id);
        self.leader_insert(row.id, self.store().epoch()).await?;
        host::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Saves a host and returns it with its new version. [`Error::Overtaken`](crate::Error::Overtaken): it was changed since
    /// it was read, which cannot happen to a row read in this transaction.
    pub async fn host_save(&mut self, row: HostRow) -> Result<HostRow> {
        self.changed(Noun::Host, row.id);
        save(&self.0, row).await
    }

    /// Removes a host.
    pub async fn host_delete(&mut self, id: Uuid) -> Result<()> {
        self.changed(Noun::Host, id);
        self.leader_delete(id).await?;
        host::Entity::delete_by_id(id).exec(&self.0).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_stored_without_its_registry_belongs_to_the_mirror() {
        let read = |text: &str, mirror: Option<&str>| {
            let mut secrets: HostSecrets = serde_json::from_str(text).expect("the stored form");
            secrets.assign_login(mirror);
            secrets
                .registry
                .map(|login| (login.address, login.user, login.password.expose().clone()))
        };
        let before = r#"{"tls":null,"registry":["robot","pw"],"kubeconfig":null}"#;
        let of = |address: &str| Some((address.to_owned(), "robot".to_owned(), "pw".to_owned()));
        assert_eq!(read(before, Some("m.example:5000/team/")), of("m.example:5000"));
        assert_eq!(read(before, None), of(""), "the registry is unknown");
        let now = r#"{"tls":null,"registry":{"address":"r.example","user":"robot","password":"pw"},"kubeconfig":null}"#;
        assert_eq!(read(now, Some("m.example:5000")), of("r.example"));
        assert_eq!(read(r#"{"tls":null,"registry":null}"#, Some("m.example")), None);
    }
}
