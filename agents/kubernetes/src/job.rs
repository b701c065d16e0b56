//! One job: a batch job of one pod. It is kept after it ends, as the record of its result.

use crate::{
    KubernetesAgent,
    apply::{labels_of, title},
    build::JobObjects,
    filter::{params, selector},
    pod_status::{PodStatus, StartFailure},
    server::{CALL, SETTLE, wait_for_retry},
};
use chainpool_agent::{
    ClusterKey, Error, ImageRef, LABEL_HASH, LABEL_JOB, LABEL_NODE, LabelFilter, Labels, NodeName, NodeSpec,
    Result, absent_is_fine, network_name,
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

/// The number of log lines in the error of a failed job.
const LAST_LINES: usize = 5;

/// The result of a job by its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobResult {
    Complete,
    /// With the reason.
    Failed(String),
}

/// The result of a job; `None` while it runs.
pub(crate) fn job_result(job: &Job) -> Option<JobResult> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is = |kind: &str| conditions.iter().find(|c| c.type_ == kind && c.status == "True");
    match is("Failed") {
        Some(failed) => Some(JobResult::Failed(failed.message.clone().unwrap_or_default())),
        None => is("Complete").map(|_| JobResult::Complete),
    }
}

impl KubernetesAgent {
    /// Runs a job to its end, unless it has already succeeded.
    pub(crate) async fn job_ensure(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        let dependencies = self.node_dependencies(key, job, image).await?;
        let objects = self.node_builder(key, job, image, &dependencies).job_objects()?;
        let deadline = Instant::now() + SETTLE;
        loop {
            match self.server.find(&objects.job).await? {
                Some(found) if found.metadata.deletion_timestamp.is_some() => {}
                Some(found) if found.labels().get(LABEL_HASH) == Some(&job.hash.0) => {
                    match job_result(&found) {
                        Some(JobResult::Complete) => return self.job_secrets_remove(key, &job.name).await,
                        // This failure was reported by a previous call, or no call waited for it: run again.
                        Some(JobResult::Failed(_)) => self.job_delete(&found).await?,
                        // Restart a stuck job once.
                        None if matches!(
                            self.job_start_failure(key, &job.name).await?,
                            Some(StartFailure::Permanent(_))
                        ) =>
                        {
                            self.job_delete(&found).await?;
                        }
                        None => return self.job_wait(key, job, deadline).await,
                    }
                }
                Some(stale) => self.job_delete(&stale).await?,
                None => {
                    if let Some(login) = &dependencies.login {
                        self.server.apply_unchecked(login).await?;
                    }
                    self.job_create(&objects).await?;
                    self.stale_secrets_delete(key, job).await?;
                    return self.job_wait(key, job, deadline).await;
                }
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "{} is still changing in the cluster",
                    title(&objects.job)
                )));
            }
        }
    }

    async fn job_create(&self, objects: &JobObjects) -> Result<()> {
        let JobObjects { secrets, claims, job } = objects;
        let secrets =
            futures::future::try_join_all(secrets.iter().map(|secret| self.server.apply_unchecked(secret)));
        let claims = futures::future::try_join_all(claims.iter().map(|claim| self.server.adopt(claim)));
        tokio::try_join!(secrets, claims)?;
        self.server
            .apply_over(job, None)
            .await
            .map_err(|f| f.into_error(&format!("apply {}", title(job))))
    }

    /// Waits for the end of a job, and checks it whenever it or its pod changes.
    async fn job_wait(&self, key: &ClusterKey, job: &NodeSpec, deadline: Instant) -> Result<()> {
        let (namespace, name) = (network_name(key), &job.name);
        let (jobs, pods): (Api<Job>, Api<Pod>) =
            (self.server.within(&namespace)?, self.server.within(&namespace)?);
        let job_events = watch_object(jobs.clone(), name.as_str()).map(|event| event.map(drop));
        let pod_events = watcher(
            pods,
            watcher::Config::default().labels(&selector(&self.job_filter(key, name))),
        )
        .map(|event| event.map(drop));
        let mut events = pin!(stream::select(job_events, pod_events));
        let mut failure = None;
        loop {
            match timeout_at(deadline, events.next()).await {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(e))) => return Err(self.server.watch_error(e).into_error("watch jobs")),
                Ok(None) | Err(_) => {
                    let state = failure.map_or_else(
                        || "has not ended yet".to_owned(),
                        |reason| format!("does not start: {reason}"),
                    );
                    return Err(Error::Busy(format!("job {name} {state}")));
                }
            }
            let found = self
                .server
                .call(CALL, jobs.get_opt(name.as_str()))
                .await
                .map_err(|f| f.into_error(&format!("get job {name}")))?;
            match found.as_ref().map(job_result) {
                None => return Err(Error::Busy(format!("job {name} was deleted while it ran"))),
                Some(Some(JobResult::Complete)) => return self.job_secrets_remove(key, name).await,
                Some(Some(JobResult::Failed(reason))) => {
                    return Err(self.job_failed(key, name, &reason).await);
                }
                Some(None) => {}
            }
            failure = match self.job_start_failure(key, name).await? {
                Some(StartFailure::Permanent(reason)) => {
                    return Err(Error::Refused(format!("job {name} does not start: {reason}")));
                }
                Some(StartFailure::Transient(reason)) => Some(reason),
                None => None,
            };
        }
    }

    /// The error for a failed job. If its program did not exit by itself, because its pod was disrupted, the
    /// job can be repeated.
    async fn job_failed(&self, key: &ClusterKey, name: &NodeName, reason: &str) -> Error {
        let pod = match self.job_pod(key, name).await {
            Ok(pod) => pod,
            Err(error) => return error,
        };
        let lost = || Error::Busy(format!("job {name} lost its pod and is repeated: {reason}"));
        let Some(pod) = pod else { return lost() };
        let status = PodStatus::of(&pod);
        if status.is_disrupted() {
            return lost();
        }
        match (status.start_failure(), status.termination()) {
            (Some(StartFailure::Permanent(reason)), _) => {
                Error::Refused(format!("job {name} does not start: {reason}"))
            }
            (_, Some(terminated)) => {
                let lines: Vec<&str> = terminated
                    .message
                    .as_deref()
                    .unwrap_or_default()
                    .lines()
                    .collect();
                let output = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
                let output = if output.is_empty() {
                    output
                } else {
                    format!(": {output}")
                };
                Error::Refused(format!("job {name} exited with {}{output}", terminated.exit_code))
            }
            _ => lost(),
        }
    }

    async fn job_start_failure(&self, key: &ClusterKey, name: &NodeName) -> Result<Option<StartFailure>> {
        let pod = self.job_pod(key, name).await?;
        Ok(pod
            .as_ref()
            .map(PodStatus::of)
            .filter(|status| !status.is_disrupted())
            .and_then(|status| status.start_failure()))
    }

    fn job_filter(&self, key: &ClusterKey, name: &NodeName) -> LabelFilter {
        LabelFilter::node(self.instance, key, name).and(LABEL_JOB, &true)
    }

    /// The job's pod. Of two pods, returns the pod that is not being deleted.
    pub(crate) async fn job_pod(&self, key: &ClusterKey, name: &NodeName) -> Result<Option<Pod>> {
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let list = self
            .server
            .call(CALL, api.list(&params(&self.job_filter(key, name))))
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

    /// Requests deletion of exactly this job. It exists until its pod is deleted, so that no two pods run at
    /// once.
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
            // Another job already has its name.
            Err(error) if error.has_code(409) => Ok(()),
            other => absent_is_fine(other).map_err(|f| f.into_error(&format!("delete {}", title(job)))),
        }
    }

    /// Deletes the secrets of a job that has succeeded.
    async fn job_secrets_remove(&self, key: &ClusterKey, name: &NodeName) -> Result<()> {
        let api: Api<Secret> = self.server.within(&network_name(key))?;
        let of_job = ListParams::default().labels(&format!("{LABEL_NODE}={name}"));
        let deleted = self
            .server
            .call(CALL, api.delete_collection(&DeleteParams::default(), &of_job))
            .await;
        deleted
            .map(drop)
            .map_err(|f| f.into_error(&format!("delete the secrets of job {name}")))
    }
}
