//! Rows to their buckets and back.

use super::*;
use crate::engine::packing::Expected;
use crate::engine::packing::tests::AS_THEY_ARE;

fn batch(keys: &[u64], layout: Layout) -> Rows {
    let mut rows = Rows::default();
    for key in keys {
        rows.keys.push(*key);
        rows.seconds.push(*key as u32);
        rows.packages.push(1);
        rows.channels.push(2);
        if layout.amounts {
            rows.amounts.push(*key as i64 * 3);
        }
        if layout.texts {
            let text = format!("id{key}");
            rows.text_lengths.push(text.len() as u32);
            rows.text_bytes.extend_from_slice(text.as_bytes());
        }
    }
    rows
}

/// Packed as their sample tells: keys far beyond it do not fit.
fn packed(splitters: Vec<u64>, resident: u64) -> Buckets {
    let (packing, bases) = Packing::of(&Expected {
        numbers: AS_THEY_ARE,
        sample: &[3, 20_000],
        splitters: &splitters,
        seconds: (0, 20_000),
        packages: Some(1 << 20),
        channels: None,
    })
    .unwrap();
    let buckets = Buckets::new(splitters, Layout::default(), resident, Scratch::temporary().unwrap());
    buckets.packed(packing, &bases)
}

#[test]
fn packed_rows_come_back_and_others_with_them() {
    let keys: Vec<u64> = (0..20_000).map(|row| row * 7 % 20_000).collect();
    for (resident, far) in [(0, None), (u64::MAX, None), (0, Some(1 << 40)), (u64::MAX, Some(1 << 40))] {
        let buckets = packed(vec![5_000, 12_000], resident);
        let mut scatterer = buckets.scatterer();
        let mut rows = batch(&keys, Layout::default());
        rows.append(&batch(&far.map_or(Vec::new(), |far| vec![far; 3]), Layout::default()));
        scatterer.scatter(&rows).unwrap();
        scatterer.finish().unwrap();
        assert_eq!(buckets.total_rows(), rows.len() as u64);
        for (bucket, range) in [0..5_000, 5_000..12_000, 12_000..20_000].into_iter().enumerate() {
            let is_mixed = far.is_some() && bucket == 2;
            let again = buckets.read(bucket).unwrap();
            let found = buckets.take(bucket).unwrap();
            assert_eq!(format!("{again:?}"), format!("{found:?}"), "reading leaves the bucket as it was");
            assert_eq!((found.rows.is_empty(), found.words.is_empty()), (!is_mixed, is_mixed));
            let mut rows = found.rows.clone();
            buckets.packing().unwrap().unpack_all(found.base, &found.words, &mut rows);
            assert!(rows.keys.iter().zip(&rows.seconds).all(|(key, second)| *key as u32 == *second));
            assert!(
                rows.packages.iter().all(|code| *code == 1) && rows.channels.iter().all(|code| *code == 2)
            );
            rows.keys.sort_unstable();
            let mut expected: Vec<u64> = range.collect();
            expected.extend(far.filter(|_| is_mixed).map_or(Vec::new(), |far| vec![far; 3]));
            assert_eq!(rows.keys, expected);
        }
    }
}

#[test]
fn a_packed_bucket_that_is_too_large_is_split() {
    for resident in [0, u64::MAX] {
        let mut buckets = packed(vec![10], resident);
        let keys: Vec<u64> = (0..50_000).map(|row| 100 + row % 500).chain([3; 20_000]).collect();
        let mut scatterer = buckets.scatterer();
        scatterer.scatter(&batch(&keys, Layout::default())).unwrap();
        scatterer.finish().unwrap();
        buckets.split_large(10_000).unwrap();
        assert!(buckets.count() >= 6, "{}", buckets.count());
        let mut found = Vec::new();
        for bucket in 0..buckets.count() {
            let gathered = buckets.take(bucket).unwrap();
            let mut rows = gathered.rows;
            buckets.packing().unwrap().unpack_all(gathered.base, &gathered.words, &mut rows);
            rows.keys.sort_unstable();
            found.extend(rows.keys);
        }
        let mut expected = keys;
        expected.sort_unstable();
        assert!(found == expected);
    }
}

fn keys_of(buckets: &Buckets) -> Vec<Vec<u64>> {
    (0..buckets.count())
        .map(|bucket| {
            let rows = buckets.take(bucket).unwrap().rows;
            assert!(rows.amounts.iter().zip(&rows.keys).all(|(amount, key)| *amount == *key as i64 * 3));
            for ((start, length), key) in rows.text_starts().iter().zip(&rows.text_lengths).zip(&rows.keys) {
                let text = &rows.text_bytes[*start..*start + *length as usize];
                assert_eq!(text, format!("id{key}").as_bytes());
            }
            let mut keys = rows.keys;
            keys.sort_unstable();
            keys
        })
        .collect()
}

#[test]
fn rows_come_back_from_their_range_in_memory_and_from_disk() {
    let layout = Layout { amounts: true, texts: true, ..Layout::default() };
    for resident in [0, u64::MAX] {
        let scratch = Scratch::temporary().unwrap();
        let buckets = Buckets::new(vec![1000, 60_000], layout, resident, scratch);
        let mut scatterer = buckets.scatterer();
        for start in (0..90_000u64).step_by(10_000) {
            scatterer.scatter(&batch(&(start..start + 10_000).collect::<Vec<_>>(), layout)).unwrap();
        }
        scatterer.finish().unwrap();
        assert_eq!(buckets.total_rows(), 90_000);
        assert_eq!(resident == 0, buckets.spilled_bytes() > 0);
        let mut read = buckets.read(0).unwrap().rows.keys;
        read.sort_unstable();
        let found = keys_of(&buckets);
        assert_eq!(read, found[0], "reading leaves the bucket as it was");
        assert_eq!(found[0], (0..1000).collect::<Vec<_>>());
        assert_eq!(found[1], (1000..60_000).collect::<Vec<_>>());
        assert_eq!(found[2], (60_000..90_000).collect::<Vec<_>>());
    }
}

#[test]
fn a_bucket_that_is_too_large_is_split_between_customers() {
    let layout = Layout { amounts: true, ..Layout::default() };
    for resident in [0, u64::MAX] {
        let mut buckets = Buckets::new(vec![10], layout, resident, Scratch::temporary().unwrap());
        let mut scatterer = buckets.scatterer();
        let keys: Vec<u64> = (0..50_000).map(|row| 100 + row % 500).chain([3; 20_000]).collect();
        scatterer.scatter(&batch(&keys, layout)).unwrap();
        scatterer.finish().unwrap();
        buckets.split_large(10_000).unwrap();
        assert!(buckets.count() >= 6, "{}", buckets.count());
        assert!((1..buckets.count()).all(|bucket| buckets.rows(bucket) <= 11_000));
        let found = keys_of(&buckets);
        assert_eq!(found[0], vec![3; 20_000]);
        assert!(found.windows(2).all(|pair| pair[0].last() < pair[1].first()));
        assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 70_000);
    }
}
