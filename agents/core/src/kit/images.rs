//! Images are found, or their absence is explained.

use super::{Kept, Promise, Stand, outcome::Stop, promise, promised};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "image-found",
        found,
        "the first candidate that is present is found, and pinned the same each time"
    ),
    promise!(
        "image-absent",
        absent,
        "when no candidate can be had, the error names them all"
    ),
];

async fn found(stand: &Stand<'_>) -> Kept {
    let mut candidates = stand.ground.absent_images();
    candidates.truncate(1);
    candidates.extend(stand.ground.images());
    for _ in 0..2 {
        let image = stand.agent.ensure_image(&candidates).await?;
        promised!(
            image == stand.image,
            "{image:?} was found, {:?} before",
            stand.image
        );
    }
    Ok(())
}

async fn absent(stand: &Stand<'_>) -> Kept {
    let candidates = stand.ground.absent_images();
    let Err(error) = stand.agent.ensure_image(&candidates).await else {
        return Err(Stop::Failed(format!("an image was found among {candidates:?}")));
    };
    let words = error.to_string();
    let unnamed: Vec<_> = candidates
        .iter()
        .filter(|candidate| !words.contains(*candidate))
        .collect();
    promised!(unnamed.is_empty(), "{unnamed:?} are not named in: {words}");
    promised!(
        stand.agent.ensure_image(&[]).await.is_err(),
        "an image was found among none"
    );
    Ok(())
}
