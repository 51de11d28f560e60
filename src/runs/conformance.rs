//! What publishing promises, over every kind of store: local disk, memory, and an S3 API on loopback, each as it
//! is and with faults.

mod faulty;
#[allow(dead_code, reason = "tests/it/s3.rs uses the rest of it")]
#[path = "../../tests/it/s3_server/mod.rs"]
mod s3_server;

use super::log::{Action, Entry, LOG};
use super::manifest::{FORMAT, InputIdentity, Manifest, Quality, TableFiles};
use super::removal::Retention;
use super::{Output, RunError};
use crate::engine::part::{RunFolder, remote_path};
use chrono::{DateTime, TimeDelta, Utc};
use object_store::{ObjectStoreExt, PutPayload};
use std::collections::BTreeMap;
use std::path::Path;

/// The whole suite on an empty output; panics where a promise is broken.
pub fn all(output: &Output) {
    publish_once(output);
    numbers_race(output);
    crash_before_and_after_the_manifest(output);
    roll_back_and_forth(output);
    remove(output);
}

fn at(hour: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::hours(hour)
}

/// The files of a run begun at `hour`, without its manifest; its text tells it from others.
fn begin(output: &Output, hour: i64) -> (RunFolder, Manifest) {
    try_begin(output, hour).unwrap()
}

fn try_begin(output: &Output, hour: i64) -> Result<(RunFolder, Manifest), RunError> {
    let run = output.begin(at(hour), "0123456789abcdef", Path::new("."), None)?;
    let text = format!("offers of {}", run.id).into_bytes();
    let file = run.folder.put("recommendations/part-00000.parquet", text)?;
    let table = TableFiles {
        rows: 1,
        bytes: file.bytes,
        grain: "one offer".to_owned(),
        key: Vec::new(),
        columns: Vec::new(),
        files: vec![file],
    };
    let manifest = Manifest {
        format: FORMAT,
        run_id: run.id.clone(),
        started_at: at(hour).to_rfc3339(),
        finished_at: at(hour).to_rfc3339(),
        resumed: None,
        job: Some(format!("job {hour}")),
        packwise_version: "0".to_owned(),
        as_of: "2024-10-04".to_owned(),
        input: InputIdentity { files: 1, rows: 1, bytes: 1, fingerprint: "0123456789abcdef".to_owned() },
        config: BTreeMap::new(),
        tables: BTreeMap::from([("recommendations".to_owned(), table)]),
        pseudonyms: None,
        sealed: 0,
        extras: Vec::new(),
        quality: Quality::default(),
        stages: Vec::new(),
        peak_memory_bytes: 0,
    };
    Ok((run.folder, manifest))
}

fn publish(output: &Output, hour: i64) -> String {
    let (_, manifest) = begin(output, hour);
    output.publish(&manifest, at(hour)).unwrap();
    manifest.run_id
}

/// What a reader sees: a run that is whole, or none.
pub fn read(output: &Output) -> Option<String> {
    let manifest = match output.manifest(None) {
        Ok(manifest) => manifest,
        Err(RunError::NoRun { .. }) => return None,
        Err(error) => panic!("{}", crate::error::chain(&error).join(": ")),
    };
    let (files, damage) = output.verify(&manifest).unwrap();
    assert_eq!((files, damage.as_slice()), (1, &[][..]), "run {} is not whole", manifest.run_id);
    Some(manifest.run_id)
}

fn publish_once(output: &Output) {
    assert_eq!(read(output), None);
    assert!(matches!(output.manifest(Some("20241004T000000Z-none")), Err(RunError::UnknownRun { .. })));
    let (_, manifest) = begin(output, 0);
    assert_eq!(read(output), None, "begun is not published");
    output.publish(&manifest, at(0)).unwrap();
    assert_eq!(read(output).as_deref(), Some(manifest.run_id.as_str()));
    let other = Manifest { as_of: "2025-01-01".to_owned(), ..manifest.clone() };
    assert!(matches!(output.publish(&other, at(0)), Err(RunError::Published { .. })));
    assert_eq!(output.manifest(None).unwrap().as_of, "2024-10-04", "nothing is replaced");
    assert_eq!(output.made_of("job 0").unwrap(), Some(manifest.run_id));
    assert_eq!(output.made_of("job 1").unwrap(), None);
}

/// Writers that take numbers of the log at once all get one, and each a different one.
fn numbers_race(output: &Output) {
    let before = output.log().unwrap().len();
    let id = output.current().unwrap().unwrap();
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let entry =
                    Entry { files: vec![writer.to_string()], ..Entry::new(Action::Rollback, &id, at(0)) };
                scope.spawn(move || output.append(&entry).unwrap())
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 6);
    let log = output.log().unwrap();
    assert_eq!(log.len(), before + 6);
    assert_eq!(
        log.iter().map(|entry| entry.number).collect::<Vec<_>>(),
        (1..=log.len() as u64).collect::<Vec<_>>()
    );
}

fn crash_before_and_after_the_manifest(output: &Output) {
    let old = read(output).unwrap();
    let (_, unpublished) = begin(output, 1);
    assert_eq!(read(output).as_ref(), Some(&old), "stopped before the manifest");
    // Stopped between the manifest and the log.
    let text = serde_json::to_vec(&unpublished).unwrap();
    let path = output.run_path(&unpublished.run_id, super::MANIFEST);
    output.runtime.block_on(output.store.put(&path, PutPayload::from(text))).unwrap();
    let entries = output.log().unwrap().len();
    assert_eq!(read(output).as_ref(), Some(&unpublished.run_id), "the manifest is what counts");
    output.complete_log(at(2)).unwrap();
    output.complete_log(at(2)).unwrap();
    assert_eq!(output.log().unwrap().len(), entries + 1, "the next writer adds the entry, once");
    assert_eq!(read(output).as_ref(), Some(&unpublished.run_id));
    assert_eq!(output.list().unwrap(), [old, unpublished.run_id]);
}

fn roll_back_and_forth(output: &Output) {
    let first = output.list().unwrap()[0].clone();
    let second = publish(output, 3);
    output.roll_back(&first, at(4)).unwrap();
    assert_eq!(read(output).as_ref(), Some(&first));
    assert!(matches!(output.roll_back("20990101T000000Z-none", at(4)), Err(RunError::UnknownRun { .. })));
    output.roll_back(&second, at(5)).unwrap();
    assert_eq!(read(output).as_ref(), Some(&second));
    output.roll_back(&first, at(6)).unwrap();
    let third = publish(output, 7);
    assert_eq!(read(output), Some(third), "the next run counts again");
}

fn remove(output: &Output) {
    let keep =
        |keep, hours| Retention { keep, older_than: TimeDelta::zero(), grace: TimeDelta::hours(hours) };
    let before = output.list().unwrap();
    assert_eq!(before.len(), 4);
    let current = output.current().unwrap().unwrap();
    let foreign = remote_path(&output.prefix, &format!("runs/{}/recommendations/notes.txt", before[0]));
    output.runtime.block_on(output.store.put(&foreign, PutPayload::from_static(b"mine"))).unwrap();
    let plan = output.collect_garbage(keep(1, 0), at(100), true).unwrap();
    assert_eq!(plan.runs, before[..3]);
    assert_eq!(output.list().unwrap(), before, "a dry run removes nothing");
    // Readers went by the first until hour 7, by the second until hour 3, by the third until hour 6.
    let kept = output.collect_garbage(keep(1, 5), at(10), false).unwrap();
    assert_eq!(kept.runs, before[1..2], "somebody may still read the others");
    assert!(matches!(output.roll_back(&before[1], at(11)), Err(RunError::UnknownRun { .. })));
    let done = output.collect_garbage(keep(1, 0), at(100), false).unwrap();
    assert_eq!(done.foreign, [format!("runs/{}/recommendations/notes.txt", before[0])]);
    assert_eq!(output.list().unwrap(), std::slice::from_ref(&current));
    assert_eq!(read(output).as_ref(), Some(&current));
    assert!(
        output.runtime.block_on(output.store.head(&foreign)).is_ok(),
        "what packwise did not write stays"
    );

    // A removal that was stopped after its entry, one after the manifest, and a run that was killed.
    let (_, killed) = begin(output, 101);
    let stopped = publish(output, 102);
    let newest = publish(output, 103);
    let files = vec!["recommendations/part-00000.parquet".to_owned()];
    output.append(&Entry { files, ..Entry::new(Action::Remove, &stopped, at(104)) }).unwrap();
    output.runtime.block_on(output.store.delete(&output.run_path(&stopped, super::MANIFEST))).unwrap();
    assert_eq!(read(output).as_ref(), Some(&newest));
    let done = output.collect_garbage(keep(9, 0), at(200), false).unwrap();
    assert!(done.runs.is_empty());
    // A local output has cleared what was killed when the next run began.
    assert!(done.unfinished.contains(&stopped) && done.unfinished.len() <= 3, "{:?}", done.unfinished);
    assert_eq!(output.list().unwrap(), [current, newest]);
    assert!(!output.is_begun(&killed.run_id) && !output.is_begun(&stopped));
    assert!(output.ids(LOG).unwrap().is_empty());
}

/// Writers over a store that fails, each stopped by the first failure: readers see the old run or the new one,
/// whole, and a writer that was not stopped has published. Returns how many were stopped, and of those how many had
/// published all the same.
fn under_faults(failing: &Output, reading: &Output, writers: i64) -> (u32, u32) {
    let (mut stopped, mut published_all_the_same) = (0, 0);
    let retention = Retention { keep: 3, older_than: TimeDelta::zero(), grace: TimeDelta::hours(2) };
    for hour in 0..writers {
        let before = read(reading);
        let mut wanted = None;
        let written = try_begin(failing, hour).and_then(|(_, manifest)| {
            wanted = Some(manifest.run_id.clone());
            failing.publish(&manifest, at(hour))
        });
        let now = read(reading);
        match written {
            Ok(()) => assert_eq!(now, wanted),
            Err(_) if now == before => stopped += 1,
            Err(_) => {
                assert_eq!(now, wanted, "neither the old run nor the new one");
                stopped += 1;
                published_all_the_same += 1;
            }
        }
        if hour % 5 == 4 {
            let current = read(reading);
            let _ = failing.collect_garbage(retention, at(hour), false);
            assert_eq!(read(reading), current, "after a removal");
        }
        if hour % 7 == 6 {
            let first = reading.list().unwrap()[0].clone();
            let rolled = failing.roll_back(&first, at(hour));
            let current = read(reading);
            assert!(current.as_ref() == Some(&first) || rolled.is_err());
        }
    }
    // Whatever was left behind, the next writer and the next removal put in order.
    let last = publish(reading, writers);
    reading
        .collect_garbage(Retention { keep: 1, grace: TimeDelta::zero(), ..retention }, at(2 * writers), false)
        .unwrap();
    assert_eq!(reading.list().unwrap(), [last]);
    assert_eq!(reading.ids("runs").unwrap().len(), 1);
    (stopped, published_all_the_same)
}

mod tests {
    use super::*;
    use crate::engine::part::PartFile;
    use crate::engine::scratch::Scratch;
    use crate::engine::stores::Patient;
    use faulty::{Fault, Faulty};
    use object_store::aws::AmazonS3Builder;
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;
    use object_store::path::Path as StorePath;
    use object_store::{BackoffConfig, ObjectStore, RetryConfig};
    use s3_server::S3Server;
    use std::sync::Arc;
    use std::time::Duration;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    }

    #[test]
    fn local_disk_keeps_the_promises() {
        let (scratch, runtime) = (Scratch::temporary().unwrap(), runtime());
        let folder = scratch.path().join("out").display().to_string();
        all(&Output::create(&folder, runtime.handle()).unwrap());
    }

    #[test]
    fn memory_keeps_the_promises() {
        let runtime = runtime();
        let prefix = StorePath::from("some/folder");
        all(&Output::over("memory", Arc::new(InMemory::new()), prefix, runtime.handle()));
    }

    /// The server's bucket, as the product reaches it but for the pauses.
    fn bucket(server: &S3Server) -> Arc<dyn ObjectStore> {
        bucket_at(&server.endpoint())
    }

    fn bucket_at(endpoint: &str) -> Arc<dyn ObjectStore> {
        let pauses = BackoffConfig {
            init_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(5),
            base: 2.0,
        };
        let store = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(s3_server::BUCKET)
            .with_access_key_id(s3_server::ACCESS_KEY)
            .with_secret_access_key(s3_server::SECRET_KEY)
            .with_retry(RetryConfig { backoff: pauses, ..RetryConfig::default() })
            .build();
        Arc::new(Patient::new(Arc::new(store.unwrap()), 10, Duration::from_millis(1)))
    }

    #[test]
    fn s3_keeps_the_promises() {
        let (server, runtime) = (S3Server::start(), runtime());
        all(&Output::over("s3", bucket(&server), StorePath::from("some/folder"), runtime.handle()));
        assert!(server.names().iter().all(|name| name.starts_with("some/folder/")));
    }

    #[test]
    #[ignore = "needs an empty bucket of another S3 server: scripts/moto.sh starts one and runs this"]
    fn another_s3_keeps_the_promises() {
        let endpoint = std::env::var("PACKWISE_TEST_S3").expect("PACKWISE_TEST_S3=http://host:port");
        let (store, runtime) = (bucket_at(&endpoint), runtime());
        all(&Output::over("s3", store.clone(), StorePath::from("suite"), runtime.handle()));
        let failing = Faulty::new(store.clone(), 12);
        let over = |store| Output::over("faulty", store, StorePath::from("faulty"), runtime.handle());
        under_faults(&over(Arc::new(failing)), &over(store), 30);
    }

    #[test]
    fn s3_over_a_bad_network_keeps_the_promises() {
        let (server, runtime) = (S3Server::start(), runtime());
        let output = Output::over("s3", bucket(&server), StorePath::from("runs of a shop"), runtime.handle());
        server.fail_one_in(4);
        all(&output);
        let faults = server.faults();
        assert!(faults.len() == 5 && faults.values().all(|count| *count >= 5), "{faults:?}");
    }

    /// Writers over a failing store, whose readers have no trouble; fails if one of the faults did not occur.
    fn faults(reading: &Output, store: Arc<dyn ObjectStore>, prefix: StorePath, writers: i64) {
        let failing = Faulty::new(store, 12);
        let counts = failing.faults();
        let failing = Output::over("faulty", Arc::new(failing), prefix, &reading.runtime);
        let (stopped, published) = under_faults(&failing, reading, writers);
        let counts = counts.lock().unwrap();
        assert!(counts.len() == 5 && counts[&Fault::Twice] > 3, "{counts:?}");
        assert!(published > 0 && stopped > published, "{stopped} stopped, {published} had published");
    }

    #[test]
    fn a_failing_disk_leaves_readers_with_a_whole_run() {
        let (scratch, runtime) = (Scratch::temporary().unwrap(), runtime());
        let folder = scratch.path().join("out").display().to_string();
        let reading = Output::create(&folder, runtime.handle()).unwrap();
        let disk = Arc::new(LocalFileSystem::new_with_prefix(&folder).unwrap());
        faults(&reading, disk, StorePath::default(), 60);
    }

    #[test]
    fn a_failing_memory_store_leaves_readers_with_a_whole_run() {
        let (store, runtime, prefix) = (Arc::new(InMemory::new()), runtime(), StorePath::from("out"));
        faults(&Output::over("memory", store.clone(), prefix.clone(), runtime.handle()), store, prefix, 200);
    }

    #[test]
    fn a_failing_s3_leaves_readers_with_a_whole_run() {
        let (store, runtime, prefix) = (bucket(&S3Server::start()), runtime(), StorePath::from("out"));
        faults(&Output::over("s3", store.clone(), prefix.clone(), runtime.handle()), store, prefix, 60);
    }

    #[test]
    fn a_manifest_that_leads_out_of_its_folder_is_refused() {
        let (scratch, runtime) = (Scratch::temporary().unwrap(), runtime());
        let folder = scratch.path().join("out").display().to_string();
        let output = Output::create(&folder, runtime.handle()).unwrap();
        for path in ["../../etc/passwd", "/etc/passwd", "recommendations/../../x", "."] {
            let (_, mut manifest) = begin(&output, 0);
            let file = PartFile {
                path: path.to_owned(),
                rows: 0,
                bytes: 0,
                checksum: String::new(),
                customers: None,
            };
            manifest.extras.push(file);
            output.publish(&manifest, at(0)).unwrap();
            let error = output.manifest(Some(&manifest.run_id)).unwrap_err();
            assert!(matches!(error, RunError::ForeignFile { .. }), "{path}");
        }
    }
}
