//! One job: a batch job of one pod, from absent to its end. It stays when it has ended: it is the record.

use crate::{
    KubernetesAgent,
    apply::{labels_of, title},
    build::JobObjects,
    life::{Hindrance, Life},
    observe::Filter,
    server::{CALL, SETTLE, absent_is_fine, look_again},
};
use chainpool_agent::{
    ClusterKey, Error, ImageRef, LABEL_GENERATION, LABEL_HASH, LABEL_JOB, LABEL_NODE, Labels, NodeName,
    NodeSpec, Result, network_name,
};
use futures::{StreamExt, stream};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Pod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
    runtime::watcher::{self, watch_object, watcher},
};
use std::pin::pin;
use tokio::time::{Instant, timeout_at};

/// How many lines of a job that ended badly are told.
const LAST_LINES: usize = 5;

/// How a job ended, by the cluster's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Well,
    /// And why.
    Badly(String),
}

/// How a job ended; `None` while it has not.
pub(crate) fn end(job: &Job) -> Option<End> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is = |kind: &str| conditions.iter().find(|c| c.type_ == kind && c.status == "True");
    match is("Failed") {
        Some(failed) => Some(End::Badly(failed.message.clone().unwrap_or_default())),
        None => is("Complete").map(|_| End::Well),
    }
}

impl KubernetesAgent {
    /// Runs a job to its end, unless it has ended well before.
    pub(crate) async fn job_ensure(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        let stuff = self.stuff(key, job, image).await?;
        let objects = self.making(key, job, image, &stuff).job_objects()?;
        let deadline = Instant::now() + SETTLE;
        loop {
            match self.server.find(&objects.job).await? {
                Some(found) if found.metadata.deletion_timestamp.is_some() => {}
                Some(found) if found.labels().get(LABEL_HASH) == Some(&job.hash.0) => match end(&found) {
                    Some(End::Well) => return self.job_secrets_remove(key, &job.name).await,
                    // It ended badly when nobody waited for it, or was told so before.
                    Some(End::Badly(_)) => self.job_delete(&found).await?,
                    // What is found stuck gets one fresh start.
                    None if matches!(
                        self.job_hindrance(key, &job.name).await?,
                        Some(Hindrance::Lasting(_))
                    ) =>
                    {
                        self.job_delete(&found).await?;
                    }
                    None => return self.job_wait(key, job, deadline).await,
                },
                Some(stale) => self.job_delete(&stale).await?,
                None => {
                    if let Some(login) = &stuff.login {
                        self.server.apply_blindly(login).await?;
                    }
                    self.job_make(&objects).await?;
                    self.secrets_tidy(key, job).await?;
                    return self.job_wait(key, job, deadline).await;
                }
            }
            if !look_again(deadline).await {
                return Err(Error::Busy(format!(
                    "{} does not settle in the cluster",
                    title(&objects.job)
                )));
            }
        }
    }

    async fn job_make(&self, objects: &JobObjects) -> Result<()> {
        let JobObjects { secrets, claims, job } = objects;
        let secrets =
            futures::future::try_join_all(secrets.iter().map(|secret| self.server.apply_blindly(secret)));
        let claims = futures::future::try_join_all(claims.iter().map(|claim| self.server.adopt(claim)));
        tokio::try_join!(secrets, claims)?;
        self.server
            .apply_over(job, None)
            .await
            .map_err(|f| f.into_error(&format!("make {}", title(job))))
    }

    /// Waits for the end of a job, and looks at it whenever it or its pod changes.
    async fn job_wait(&self, key: &ClusterKey, job: &NodeSpec, deadline: Instant) -> Result<()> {
        let (namespace, name) = (network_name(key), &job.name);
        let (jobs, pods): (Api<Job>, Api<Pod>) =
            (self.server.within(&namespace)?, self.server.within(&namespace)?);
        let of_job = watch_object(jobs.clone(), name.as_str()).map(|told| told.map(drop));
        let of_pods = watcher(
            pods,
            watcher::Config::default().labels(self.job_filter(key, name).as_str()),
        )
        .map(|told| told.map(drop));
        let mut told = pin!(stream::select(of_job, of_pods));
        let mut hindrance = None;
        loop {
            match timeout_at(deadline, told.next()).await {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(e))) => return Err(self.server.watch_fault(e).into_error("tell of its jobs")),
                Ok(None) | Err(_) => {
                    let words = hindrance.map_or_else(
                        || "has not ended yet".to_owned(),
                        |words| format!("does not start: {words}"),
                    );
                    return Err(Error::Busy(format!("job {name} {words}")));
                }
            }
            let found = self
                .server
                .call(CALL, jobs.get_opt(name.as_str()))
                .await
                .map_err(|f| f.into_error(&format!("show job {name}")))?;
            match found.as_ref().map(end) {
                None => return Err(Error::Busy(format!("job {name} was removed while it ran"))),
                Some(Some(End::Well)) => return self.job_secrets_remove(key, name).await,
                Some(Some(End::Badly(why))) => return Err(self.job_failed(key, name, &why).await),
                Some(None) => {}
            }
            hindrance = match self.job_hindrance(key, name).await? {
                Some(Hindrance::Lasting(words)) => {
                    return Err(Error::Refused(format!("job {name} does not start: {words}")));
                }
                Some(Hindrance::Passing(words)) => Some(words),
                None => None,
            };
        }
    }

    /// The error that a job's failure is. Where its program did not end by itself (its pod was taken away), it is run anew.
    async fn job_failed(&self, key: &ClusterKey, name: &NodeName, why: &str) -> Error {
        let pod = match self.job_pod(key, name).await {
            Ok(pod) => pod,
            Err(error) => return error,
        };
        let taken = || Error::Busy(format!("job {name} lost its pod and is run anew: {why}"));
        let Some(pod) = pod else { return taken() };
        let life = Life::of(&pod);
        if life.is_taken_away() {
            return taken();
        }
        match (life.hindrance(), life.ended()) {
            (Some(Hindrance::Lasting(words)), _) => {
                Error::Refused(format!("job {name} does not start: {words}"))
            }
            (_, Some(ended)) => {
                let lines: Vec<&str> = ended.message.as_deref().unwrap_or_default().lines().collect();
                let said = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
                let said = if said.is_empty() {
                    said
                } else {
                    format!(": {said}")
                };
                Error::Refused(format!("job {name} ended with {}{said}", ended.exit_code))
            }
            _ => taken(),
        }
    }

    async fn job_hindrance(&self, key: &ClusterKey, name: &NodeName) -> Result<Option<Hindrance>> {
        let pod = self.job_pod(key, name).await?;
        Ok(pod
            .as_ref()
            .map(Life::of)
            .filter(|life| !life.is_taken_away())
            .and_then(|life| life.hindrance()))
    }

    fn job_filter(&self, key: &ClusterKey, name: &NodeName) -> Filter {
        let filter = Filter::cluster(self.instance, key.cluster).and(LABEL_GENERATION, &key.generation);
        filter.and(LABEL_NODE, name).and(LABEL_JOB, &true)
    }

    /// The job's pod: the one that is not going, where there are two.
    pub(crate) async fn job_pod(&self, key: &ClusterKey, name: &NodeName) -> Result<Option<Pod>> {
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let list = self
            .server
            .call(CALL, api.list(&self.job_filter(key, name).params()))
            .await;
        let mut pods = list
            .map_err(|f| f.into_error(&format!("list the pods of job {name}")))?
            .items;
        let ours = Labels::of_cluster(self.instance, key).node(name);
        pods.retain(|pod| labels_of(pod).map(|labels| Labels { hash: None, ..labels }) == Some(ours.clone()));
        Ok(pods
            .into_iter()
            .max_by_key(|pod| pod.metadata.deletion_timestamp.is_none()))
    }

    /// Asks for the removal of exactly this job. It is there until its pod is gone, so that no two run at once.
    async fn job_delete(&self, job: &Job) -> Result<()> {
        let api: Api<Job> = self.server.within(&job.namespace().unwrap_or_default())?;
        let preconditions = Some(Preconditions {
            uid: job.uid(),
            resource_version: None,
        });
        let params = DeleteParams {
            preconditions,
            ..DeleteParams::foreground()
        };
        match self.server.call(CALL, api.delete(&job.name_any(), &params)).await {
            // Another has its name already.
            Err(fault) if fault.is(409) => Ok(()),
            other => absent_is_fine(other).map_err(|f| f.into_error(&format!("remove {}", title(job)))),
        }
    }

    /// Nothing secret is kept for a job that has ended well.
    async fn job_secrets_remove(&self, key: &ClusterKey, name: &NodeName) -> Result<()> {
        let api: Api<Secret> = self.server.within(&network_name(key))?;
        let its = ListParams::default().labels(&format!("{LABEL_NODE}={name}"));
        let removed = self
            .server
            .call(CALL, api.delete_collection(&DeleteParams::default(), &its))
            .await;
        removed
            .map(drop)
            .map_err(|f| f.into_error(&format!("remove the secrets of job {name}")))
    }
}
