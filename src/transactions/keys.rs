//! Customer ids as 64-bit keys that sort as the ids do.
//!
//! Integers and phone-number-like text (up to 16 of `0-9 + -`) fit whole and are never stored as
//! text. Any other text keeps eight bytes after the prefix that a sample of the ids shares, and the
//! text itself travels beside the key.

use crate::engine::packing::Numbers;
use crate::numerics::digits;
use std::ops::Range;

/// How ids become keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// 64-bit integers.
    Integer,
    /// Text of digits and signs, four bits a character.
    Packed,
    /// Any text: the key is what follows the prefix, and ties are settled by the text.
    Text { prefix: Vec<u8> },
}

impl KeyKind {
    /// Keys as numbers of few bits: integers are some, and ids of digits where nearly all of a sample have as many of them.
    pub fn numbers(&self, sample: &[String]) -> Option<Numbers> {
        match self {
            Self::Integer => Some(Numbers {
                of_keys: |keys, _, out| {
                    out.clear();
                    out.extend_from_slice(keys);
                },
                to_key: |number, _| number,
                digits: 0,
            }),
            Self::Packed => {
                let digits = sample.get(sample.len() / 2)?.len();
                let is_alike =
                    |id: &&String| id.len() == digits && id.bytes().all(|byte| byte.is_ascii_digit());
                let alike = sample.iter().filter(is_alike).count();
                (20 * alike >= 19 * sample.len()).then_some(Numbers {
                    of_keys: numbers_of_digits,
                    to_key: key_of_number,
                    digits: digits as u32,
                })
            }
            Self::Text { .. } => None,
        }
    }
}

/// The key of an integer id: order-preserving and invertible.
pub fn integer_key(id: i64) -> u64 {
    (id as u64) ^ (1 << 63)
}

/// The integer behind a key.
pub fn key_integer(key: u64) -> i64 {
    (key ^ (1 << 63)) as i64
}

/// The key of digits and signs: four bits a character, left-aligned, so that keys order as the bytes
/// do and differ whenever the texts differ. None for any other text and beyond 16 characters.
pub fn pack(id: &[u8]) -> Option<u64> {
    if id.is_empty() || id.len() > 16 {
        return None;
    }
    let mut padded = [b'0'; 16];
    padded[..id.len()].copy_from_slice(id);
    pack_padded(padded, id.len())
}

/// The same of the bytes of a range. Where sixteen bytes follow its start, they are read at once and what is not of the id is
/// masked, instead of a copy whose length is not known beforehand.
pub fn pack_within(bytes: &[u8], range: Range<usize>) -> Option<u64> {
    let length = range.len();
    let Some(sixteen) = bytes.get(range.start..).and_then(|rest| rest.first_chunk::<16>()) else {
        return pack(&bytes[range]);
    };
    if length == 0 || length > 16 {
        return None;
    }
    let own = u128::MAX << (8 * (16 - length));
    let zeros = u128::from_be_bytes([b'0'; 16]);
    pack_padded((u128::from_be_bytes(*sixteen) & own | zeros & !own).to_be_bytes(), length)
}

/// The key of the first `length` of the characters, 1 to 16; zeros follow them.
fn pack_padded(padded: [u8; 16], length: usize) -> Option<u64> {
    let unused = 4 * (16 - length) as u32;
    let (halves, _) = padded.as_chunks::<8>();
    if let (Some(high), Some(low)) = (eight_digits(halves[0]), eight_digits(halves[1])) {
        return Some((high << 32 | low) >> unused << unused);
    }
    let mut key = 0u64;
    for byte in &padded[..length] {
        let code = match byte {
            b'+' => 1,
            b'-' => 2,
            b'0'..=b'9' => u64::from(byte - b'0') + 3,
            _ => return None,
        };
        key = key << 4 | code;
    }
    Some(key << unused)
}

/// The codes of eight digits, all at once; None if there is anything else among them. Most ids are digits, and an id is
/// packed for every row.
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let bytes = u64::from_be_bytes(text);
    // A digit's upper half is 3, and still is after adding 6.
    let halves = (bytes & bytes.wrapping_add(6 * EACH)) & (0xf0 * EACH);
    if halves != 0x30 * EACH || bytes & (0xc0 * EACH) != 0 {
        return None;
    }
    let codes = (bytes & (0x0f * EACH)) + 3 * EACH;
    let pairs = (codes | codes >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) & 0xffff_ffff)
}

/// Appends the text behind a packed key.
pub fn unpack(key: u64, out: &mut String) {
    /// By code; no id has the first and the last three.
    const CHARACTERS: &[u8; 16] = b"0+-0123456789000";
    let length = 16 - key.trailing_zeros() as usize / 4;
    let mut text = [0u8; 16];
    match digits(key, length) {
        Some(digits) => text = digits,
        None => {
            for (place, character) in text[..length].iter_mut().enumerate() {
                *character = CHARACTERS[(key >> (60 - 4 * place)) as usize & 15];
            }
        }
    }
    out.push_str(std::str::from_utf8(&text[..length]).unwrap_or_default());
}

/// The characters behind `length` codes, all at once, if all are digits; anything behind them.
fn digits(key: u64, length: usize) -> Option<[u8; 16]> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let spread = |half: u64| {
        let fours = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let pairs = (fours | fours << 8) & 0x00ff_00ff_00ff_00ff;
        (pairs | pairs << 4) & (0x0f * EACH)
    };
    let codes = u128::from(spread(key >> 32)) << 64 | u128::from(spread(key & 0xffff_ffff));
    let each = u128::from(EACH) << 64 | u128::from(EACH);
    // The upper bit of each code that is a digit's, three or more.
    let found = (codes + 0x7d * each) & (0x80 * each);
    let wanted = (0x80 * each).unbounded_shl(8 * (16 - length) as u32);
    (found & wanted == wanted).then(|| (codes + u128::from(b'0' - 3) * each).to_be_bytes())
}

/// The numbers that ids of `length` digits (1 to 16) spell, from their packed keys: they order as the keys do and need fewer
/// bits. `u64::MAX` for any other id.
pub fn numbers_of_digits(keys: &[u64], length: u32, out: &mut Vec<u64>) {
    out.clear();
    let done = digits::numbers(keys, length as usize, out);
    out.extend(keys[done..].iter().map(|key| number_of_digits(*key, length)));
}

fn number_of_digits(key: u64, digits: u32) -> u64 {
    const ONES: u64 = 0x1111_1111_1111_1111;
    let unused = 4 * (16 - digits);
    // A code below a digit's borrows from the one above it; there is none above the uppermost of sixteen.
    let (threes, borrowed) = ((3 * ONES) >> unused, ONES << 4);
    let codes = key >> unused;
    let number = codes.wrapping_sub(threes);
    let others = key << (4 * digits - 1) << 1
        | (number ^ codes ^ threes) & borrowed
        | u64::from(codes >> (4 * (digits - 1)) < 3);
    // Tens and ones, then pairs of those, and so on: all products fit the halves that they come from.
    let pairs = (number & 0x0f0f_0f0f_0f0f_0f0f) + 10 * (number >> 4 & 0x0f0f_0f0f_0f0f_0f0f);
    let fours = (pairs & 0x00ff_00ff_00ff_00ff) + 100 * (pairs >> 8 & 0x00ff_00ff_00ff_00ff);
    let eights = (fours & 0x0000_ffff_0000_ffff) + 10_000 * (fours >> 16 & 0x0000_ffff_0000_ffff);
    let all = (eights & 0xffff_ffff) + 100_000_000 * (eights >> 32);
    if others == 0 { all } else { u64::MAX }
}

/// The packed key of the id of `digits` digits that spells a number.
pub fn key_of_number(number: u64, digits: u32) -> u64 {
    const THREES: u64 = 0x3333_3333_3333_3333;
    // Eight digits at once: halves, quarters and digits of them by products for quotients.
    let eight = |number: u64| {
        let fours = (number / 10_000) | ((number % 10_000) << 32);
        let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
        let pairs = hundreds | (fours - 100 * hundreds) << 16;
        let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
        // The first digit is in the lowest byte.
        let digits = (tens | (pairs - 10 * tens) << 8).swap_bytes();
        let twos = (digits | digits >> 4) & 0x00ff_00ff_00ff_00ff;
        let fours = (twos | twos >> 8) & 0x0000_ffff_0000_ffff;
        (fours | fours >> 16) & 0xffff_ffff
    };
    let all = eight(number / 100_000_000) << 32 | eight(number % 100_000_000);
    (all + THREES) << (4 * (16 - digits))
}

/// The key of any text: 0 before the prefix, the largest after it, else the next eight bytes.
pub fn text_key(id: &[u8], prefix: &[u8]) -> u64 {
    match id.strip_prefix(prefix) {
        Some(rest) => {
            let mut bytes = [0u8; 8];
            let taken = rest.len().min(8);
            bytes[..taken].copy_from_slice(&rest[..taken]);
            u64::from_be_bytes(bytes).clamp(1, u64::MAX - 1)
        }
        None if id < prefix => 0,
        None => u64::MAX,
    }
}

/// How to key text ids, judged by a sample of them.
pub fn kind_of_sample(sample: &[String]) -> KeyKind {
    if sample.iter().all(|id| pack(id.as_bytes()).is_some()) {
        return KeyKind::Packed;
    }
    KeyKind::Text { prefix: shared_prefix(sample) }
}

/// The bytes that all of a sample begin with.
pub fn shared_prefix(sample: &[String]) -> Vec<u8> {
    let Some(first) = sample.first() else { return Vec::new() };
    let shared = |id: &String| first.bytes().zip(id.bytes()).take_while(|(a, b)| a == b).count();
    let length = sample.iter().map(shared).min().unwrap_or(0);
    first.as_bytes()[..length].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_keys_order_and_return_as_text(a in "[0-9+-]{1,16}", b in "[0-9+-]{1,16}") {
            let (ka, kb) = (pack(a.as_bytes()).unwrap(), pack(b.as_bytes()).unwrap());
            prop_assert_eq!(ka.cmp(&kb), a.as_bytes().cmp(b.as_bytes()));
            let mut text = String::new();
            unpack(ka, &mut text);
            prop_assert_eq!(text, a);
        }

        #[test]
        fn keys_of_a_range_are_those_of_its_text(before in "[0-9]{0,20}", id in "[0-9+ é-]{0,18}", after in "[0-9]{0,20}") {
            let all = format!("{before}{id}{after}");
            let range = before.len()..before.len() + id.len();
            prop_assert_eq!(pack_within(all.as_bytes(), range), pack(id.as_bytes()));
        }

        #[test]
        fn digits_are_numbers_and_nothing_else_is(
            ids in prop::collection::vec("[0-9]{1,16}|[0-9+-]{1,16}", 1..20), digits in 1u32..17,
        ) {
            let keys: Vec<u64> = ids.iter().map(|id| pack(id.as_bytes()).unwrap()).collect();
            let mut numbers = Vec::new();
            numbers_of_digits(&keys, digits, &mut numbers);
            for ((id, key), number) in ids.iter().zip(keys).zip(numbers) {
                let is_digits = id.len() == digits as usize && id.bytes().all(|byte| byte.is_ascii_digit());
                prop_assert_eq!(number, if is_digits { id.parse().unwrap() } else { u64::MAX });
                if is_digits {
                    prop_assert_eq!(key_of_number(number, digits), key);
                }
            }
        }

        #[test]
        fn integer_keys_order_and_return(a: i64, b: i64) {
            prop_assert_eq!(integer_key(a).cmp(&integer_key(b)), a.cmp(&b));
            prop_assert_eq!(key_integer(integer_key(a)), a);
        }

        #[test]
        fn text_keys_never_contradict_the_order(a in ".{0,12}", b in ".{0,12}", prefix in ".{0,3}") {
            let (ka, kb) = (text_key(a.as_bytes(), prefix.as_bytes()), text_key(b.as_bytes(), prefix.as_bytes()));
            if ka < kb { prop_assert!(a.as_bytes() < b.as_bytes()); }
            if ka > kb { prop_assert!(a.as_bytes() > b.as_bytes()); }
        }
    }

    #[test]
    fn a_sample_decides_the_kind() {
        assert_eq!(kind_of_sample(&["905301112233".into(), "+905301112234".into()]), KeyKind::Packed);
        assert_eq!(
            kind_of_sample(&["customer-1".into(), "customer-22".into()]),
            KeyKind::Text { prefix: b"customer-".to_vec() }
        );
    }
}
