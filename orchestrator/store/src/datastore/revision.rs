//! The rendered spec of each generation. Secret contents are sealed with a data key per generation.

use crate::{
    Conn, Error, Json, Key, Result, Tx,
    entity::{data_key, revision},
};
use chainpool_agent::{ClusterSpec, Generation, ImageRef, SealedSpec, Secret};
use chainpool_api::Timestamp;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, Set, sea_query::Expr};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A stored spec: without secret contents, with the resolved images.
#[derive(Debug, Clone)]
pub struct StoredSpec {
    /// The spec with empty secret contents.
    pub public: ClusterSpec,
    /// The resolved image of each node and job.
    pub images: BTreeMap<String, ImageRef>,
}

fn purpose(cluster: Uuid, generation: Generation) -> String {
    format!("cluster {cluster} generation {generation}")
}

impl<C: ConnectionTrait> Conn<C> {
    /// Reads the spec of one generation, without secret contents.
    pub async fn revision(&self, cluster: Uuid, generation: Generation) -> Result<Option<StoredSpec>> {
        let row = revision::Entity::find_by_id((cluster, generation))
            .one(&self.0)
            .await?;
        Ok(row.map(|row| StoredSpec {
            public: row.spec.0,
            images: row.images.0,
        }))
    }

    /// Returns `true` if the spec of this generation is stored.
    pub async fn has_revision(&self, cluster: Uuid, generation: Generation) -> Result<bool> {
        let query = revision::Entity::find_by_id((cluster, generation))
            .select_only()
            .column(revision::Column::Generation)
            .into_tuple::<Generation>();
        Ok(query.one(&self.0).await?.is_some())
    }

    /// Reads the resolved images of one generation.
    pub async fn images(
        &self,
        cluster: Uuid,
        generation: Generation,
    ) -> Result<Option<BTreeMap<String, ImageRef>>> {
        let query = revision::Entity::find_by_id((cluster, generation))
            .select_only()
            .column(revision::Column::Images)
            .into_tuple::<Json<BTreeMap<String, ImageRef>>>();
        Ok(query.one(&self.0).await?.map(|images| images.0))
    }

    /// Reads the spec of one generation with secret contents.
    pub async fn revision_opened(
        &self,
        master: &Key,
        cluster: Uuid,
        generation: Generation,
    ) -> Result<Option<(ClusterSpec, BTreeMap<String, ImageRef>)>> {
        let id = (cluster, generation);
        let (Some(row), Some(key)) = (
            revision::Entity::find_by_id(id).one(&self.0).await?,
            data_key::Entity::find_by_id(id).one(&self.0).await?,
        ) else {
            return Ok(None);
        };
        let purpose = purpose(cluster, generation);
        let clear = master
            .unwrap(&purpose, &key.wrapped)?
            .open(&purpose, &row.sealed)?;
        let unreadable = || Error::Key(format!("cannot read the secrets of {purpose}"));
        let secrets: Vec<Secret<Vec<u8>>> =
            serde_json::from_slice(clear.expose()).map_err(|_| unreadable())?;
        let spec = SealedSpec {
            public: row.spec.0,
            secrets,
        }
        .open()
        .ok_or_else(unreadable)?;
        Ok(Some((spec, row.images.0)))
    }
}

impl Tx {
    /// Replaces the spec of a generation with the amended one and keeps these images. The data key stays the
    /// same, so that concurrent readers can open either spec.
    pub async fn revision_replace(
        &mut self,
        master: &Key,
        cluster: Uuid,
        generation: Generation,
        (spec, images): (ClusterSpec, BTreeMap<String, ImageRef>),
    ) -> Result<()> {
        let (id, purpose) = ((cluster, generation), purpose(cluster, generation));
        let stored = data_key::Entity::find_by_id(id).one(&self.0).await?;
        let key = stored.ok_or_else(|| Error::Key(format!("there is no key for {purpose}")))?;
        let SealedSpec { public, secrets } = spec.seal();
        let clear = Secret::new(serde_json::to_vec(&secrets).expect("plain bytes"));
        let sealed = master
            .unwrap(&purpose, &key.wrapped)?
            .seal(&purpose, clear.expose())?;
        revision::Entity::update_many()
            .col_expr(revision::Column::Spec, Expr::value(Json(public)))
            .col_expr(revision::Column::Sealed, Expr::value(sealed))
            .col_expr(revision::Column::Images, Expr::value(Json(images)))
            .filter(revision::Column::ClusterId.eq(cluster))
            .filter(revision::Column::Generation.eq(id.1))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Stores the spec of a new generation.
    pub async fn revision_insert(
        &mut self,
        cluster: Uuid,
        generation: Generation,
        spec: ClusterSpec,
        now: Timestamp,
    ) -> Result<()> {
        let purpose = purpose(cluster, generation);
        let key = Key::random()?;
        let SealedSpec { public, secrets } = spec.seal();
        let clear = Secret::new(serde_json::to_vec(&secrets).expect("plain bytes"));
        let master = self.store().master().clone();
        let row = revision::ActiveModel {
            cluster_id: Set(cluster),
            generation: Set(generation),
            spec: Set(Json(public)),
            sealed: Set(key.seal(&purpose, clear.expose())?),
            images: Set(Json(BTreeMap::new())),
            created_at: Set(now.into()),
        };
        revision::Entity::insert(row)
            .exec_without_returning(&self.0)
            .await?;
        let wrapped = data_key::ActiveModel {
            cluster_id: Set(cluster),
            generation: Set(generation),
            key_id: Set(master.id()),
            wrapped: Set(master.wrap(&purpose, &key)?),
        };
        data_key::Entity::insert(wrapped)
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Stores the resolved images.
    pub async fn revision_images(
        &mut self,
        cluster: Uuid,
        generation: Generation,
        images: BTreeMap<String, ImageRef>,
    ) -> Result<()> {
        revision::Entity::update_many()
            .col_expr(revision::Column::Images, Expr::value(Json(images)))
            .filter(revision::Column::ClusterId.eq(cluster))
            .filter(revision::Column::Generation.eq(generation))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Deletes the keys and specs of all generations up to this one.
    pub async fn revisions_delete(&mut self, cluster: Uuid, through: u32) -> Result<()> {
        let through = i64::from(through);
        data_key::Entity::delete_many()
            .filter(data_key::Column::ClusterId.eq(cluster))
            .filter(data_key::Column::Generation.lte(through))
            .exec(&self.0)
            .await?;
        revision::Entity::delete_many()
            .filter(revision::Column::ClusterId.eq(cluster))
            .filter(revision::Column::Generation.lte(through))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
