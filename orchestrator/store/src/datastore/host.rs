//! Hosts.

use crate::{
    Conn, HostRow, Key, Result, Tx,
    datastore::{containing, page_size},
    entity::host,
};
use chainpool_agent::{RegistryLogin, Secret, Tls};
use chainpool_api::{self as api, HostFilter, Noun, Timestamp};
use ipnet::Ipv4Net;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde::{Deserialize, Deserializer, Serialize};
use std::{collections::BTreeMap, net::IpAddr};
use uuid::Uuid;

/// A host's settings that no query filters by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// How much of its memory the sum of node limits may reach.
    pub memory_factor: f64,
    /// Percent of the disk that must stay free for new clusters.
    pub disk_floor: u32,
    /// What it is filled with.
    pub fill: Vec<api::Fill>,
    /// The address that users reach its clusters at.
    pub public_address: String,
    /// Where published ports are bound.
    pub bind: IpAddr,
    /// The range for published ports, first and last.
    pub ports: (u16, u16),
    /// The range for the clusters' networks.
    pub subnets: Ipv4Net,
    /// Logging of its nodes.
    pub log: api::HostLog,
    /// Put before image names.
    pub mirror: Option<String>,
    /// Image references by role.
    pub images: BTreeMap<String, Vec<String>>,
    /// Plain tcp beyond loopback was asked for.
    pub insecure: bool,
    /// The storage class of volumes, where the platform has such.
    #[serde(default)]
    pub storage_class: Option<String>,
}

/// A host's secrets, sealed with the master key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HostSecrets {
    /// For mutual TLS with the engine.
    pub tls: Option<Tls>,
    /// The login for an image registry.
    #[serde(default, deserialize_with = "login")]
    pub registry: Option<RegistryLogin>,
    /// Who we are at a Kubernetes cluster: the text of a kubeconfig.
    #[serde(default)]
    pub kubeconfig: Option<Secret<String>>,
}

impl HostSecrets {
    /// Seals them for one host.
    pub fn seal(&self, master: &Key, host: Uuid) -> Result<Vec<u8>> {
        let clear = Secret::new(serde_json::to_vec(self).expect("plain fields"));
        master.seal(&format!("host {host}"), clear.expose())
    }

    /// Opens a host's.
    pub fn open(master: &Key, host: &HostRow) -> Result<Self> {
        let Some(sealed) = &host.sealed else {
            return Ok(Self::default());
        };
        let clear = master.open(&format!("host {}", host.id), sealed)?;
        let mut secrets: Self = serde_json::from_slice(clear.expose()).map_err(|e| {
            crate::Error::Key(format!("the secrets of host {} are unreadable: {e}", host.name))
        })?;
        secrets.place_login(host.settings.0.mirror.as_deref());
        Ok(secrets)
    }

    /// Gives a login that was stored without its registry the one of the mirror. Without a mirror nobody knows which registry it is for,
    /// so it is kept for
    /// none: its address is empty.
    fn place_login(&mut self, mirror: Option<&str>) {
        let Some(login) = self.registry.as_mut().filter(|login| login.address.is_empty()) else {
            return;
        };
        if let Some(registry) = mirror.and_then(|mirror| mirror.split('/').next()) {
            registry.clone_into(&mut login.address);
        }
    }
}

/// A login; earlier versions stored user and password alone.
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

/// How one entry of a fill policy has failed so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillPause {
    /// Failures in a row.
    pub failures: u32,
    /// The newest failure's reason.
    pub reason: String,
    /// Not tried before this.
    pub next_at: Timestamp,
}

impl<C: ConnectionTrait> Conn<C> {
    /// A host by its id.
    pub async fn host(&self, id: Uuid) -> Result<Option<HostRow>> {
        Ok(host::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// A host by its name, or by its id.
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

    /// The host of this engine.
    pub async fn host_of_engine(&self, engine_id: &str) -> Result<Option<HostRow>> {
        Ok(host::Entity::find()
            .filter(host::Column::EngineId.eq(engine_id))
            .one(&self.0)
            .await?)
    }

    /// All hosts, oldest first.
    pub async fn hosts(&self) -> Result<Vec<HostRow>> {
        Ok(host::Entity::find()
            .order_by_asc(host::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// One page of hosts, newest first, with one row more when there is a next page.
    pub async fn host_page(&self, filter: &HostFilter) -> Result<Vec<HostRow>> {
        let mut query = host::Entity::find()
            .order_by_desc(host::Column::Id)
            .limit(page_size(filter.limit) + 1);
        if let Some(state) = filter.state {
            query = query.filter(host::Column::State.eq(state.as_str()));
        }
        if let Some(platform) = filter.platform {
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
    /// Adds a host.
    pub async fn host_insert(&mut self, row: HostRow) -> Result<()> {
        self.changed(Noun::Host, row.id);
        host::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Saves a host that was read in this transaction.
    pub async fn host_save(&mut self, row: HostRow) -> Result<()> {
        self.changed(Noun::Host, row.id);
        row.into_active_model().reset_all().update(&self.0).await?;
        Ok(())
    }

    /// Removes a host.
    pub async fn host_delete(&mut self, id: Uuid) -> Result<()> {
        self.changed(Noun::Host, id);
        host::Entity::delete_by_id(id).exec(&self.0).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_was_stored_without_its_registry_is_for_the_mirror_of_then() {
        let read = |text: &str, mirror: Option<&str>| {
            let mut secrets: HostSecrets = serde_json::from_str(text).expect("as it was stored");
            secrets.place_login(mirror);
            secrets
                .registry
                .map(|login| (login.address, login.user, login.password.expose().clone()))
        };
        let before = r#"{"tls":null,"registry":["robot","pw"],"kubeconfig":null}"#;
        let of = |address: &str| Some((address.to_owned(), "robot".to_owned(), "pw".to_owned()));
        assert_eq!(read(before, Some("m.example:5000/team/")), of("m.example:5000"));
        assert_eq!(read(before, None), of(""), "nobody knows whose it is");
        let now = r#"{"tls":null,"registry":{"address":"r.example","user":"robot","password":"pw"},"kubeconfig":null}"#;
        assert_eq!(read(now, Some("m.example:5000")), of("r.example"));
        assert_eq!(read(r#"{"tls":null,"registry":null}"#, Some("m.example")), None);
    }
}
