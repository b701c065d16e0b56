//! Images are found, or their absence is explained.

use super::{
    fixture::Fixture,
    outcome::{Stop, TestResult, check},
    promise::{Promise, promise},
};
use crate::ImageRequest;

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "image-found",
        found,
        "the first candidate that is present is found, with the same pin each time"
    ),
    promise!(
        "image-absent",
        absent,
        "when no candidate is available, the error names them all"
    ),
];

async fn found(fixture: &Fixture<'_>) -> TestResult {
    let mut candidates = fixture.platform.absent_images();
    candidates.truncate(1);
    candidates.extend(fixture.platform.images());
    for _ in 0..2 {
        let image = fixture.agent.ensure_image(&ImageRequest::of(&candidates)).await?;
        check!(
            image == fixture.image,
            "{image:?} was found, {:?} before",
            fixture.image
        );
    }
    Ok(())
}

async fn absent(fixture: &Fixture<'_>) -> TestResult {
    let request = ImageRequest {
        candidates: fixture.platform.absent_images(),
        advice: Some("ask the kit for it".to_owned()),
    };
    let unnamed = |message: &str| -> Vec<&String> {
        let expected = request.candidates.iter().chain(&request.advice);
        expected.filter(|text| !message.contains(*text)).collect()
    };
    // The platform may still be removing what an earlier call left.
    let answer = fixture
        .wait_until("an answer about absent images", async || {
            match fixture.agent.ensure_image(&request).await {
                Err(error) if error.is_transient() && !unnamed(&error.to_string()).is_empty() => {
                    Ok(Err(error.to_string()))
                }
                answer => Ok(Ok(answer)),
            }
        })
        .await?;
    let Err(error) = answer else {
        return Err(Stop::Failed(format!("an image was found for {request:?}")));
    };
    let message = error.to_string();
    let unnamed = unnamed(&message);
    check!(unnamed.is_empty(), "{unnamed:?} are not named in: {message}");
    check!(
        fixture.agent.ensure_image(&ImageRequest::of(&[])).await.is_err(),
        "an image was found without candidates"
    );
    Ok(())
}
