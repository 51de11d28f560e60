//! Digits of texts that lie evenly in memory, four texts at a time.
//!
//! **What is unsafe here.** Loads of sixteen bytes and a store of four words, all through references to arrays of that
//! size; and a call of what the processor was asked for.

/// A text of at most sixteen digits as four bits a digit, the digit and three, from the left: [`crate::transactions::keys`]
/// says why. Appends those of texts of `length` bytes, 1 to 16, `stride` bytes from the start of one to the next, four at a
/// time from the front, and returns how many: it ends before four of which not all are digits, before fewer than four, before
/// the last sixteen bytes, and at once where the processor lacks the instructions (AVX-512 of bytes and words).
pub fn pack(bytes: &[u8], stride: usize, length: usize, texts: usize, out: &mut Vec<u64>) -> usize {
    #[cfg(target_arch = "x86_64")]
    if (1..=16).contains(&length) && std::arch::is_x86_feature_detected!("avx512bw") {
        // SAFETY: the processor has AVX-512BW, and with it AVX-512F.
        return unsafe { avx512::pack(bytes, stride, length, texts, out) };
    }
    let _ = (bytes, stride, length, texts, out);
    0
}

/// The numbers that words of [`pack`] of `length` digits (1 to 16) spell; `u64::MAX` for any other. Appends those of eight
/// words at a time from the front, and returns how many; none where the processor lacks the instructions.
pub fn numbers(words: &[u64], length: usize, out: &mut Vec<u64>) -> usize {
    #[cfg(target_arch = "x86_64")]
    if (1..=16).contains(&length) && std::arch::is_x86_feature_detected!("avx512bw") {
        // SAFETY: as above.
        return unsafe { avx512::numbers(words, length, out) };
    }
    let _ = (words, length, out);
    0
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn numbers(words: &[u64], length: usize, out: &mut Vec<u64>) -> usize {
        const EACH: i64 = 0x0f0f_0f0f_0f0f_0f0f;
        let unused = 4 * (16 - length as u32);
        let ones = (u64::MAX / 15) >> unused;
        let (threes, nine) = (_mm512_set1_epi64(3 * ones as i64), _mm512_set1_epi8(9));
        let unused = _mm_cvtsi64_si128(i64::from(unused));
        let (half, four) = (_mm512_set1_epi64(EACH), _mm_cvtsi64_si128(4));
        // The first of two is worth a hundred, or ten thousand, of the second: it is the upper one in memory.
        let hundreds = _mm512_set1_epi16(100 << 8 | 1);
        let tens_of_thousands = _mm512_set1_epi32(10_000 << 16 | 1);
        let lower = _mm512_set1_epi64(0xffff_ffff);
        let eights = _mm512_set1_epi64(100_000_000);
        let (chunks, _) = words.as_chunks::<8>();
        out.reserve(words.len());
        for chunk in chunks {
            // SAFETY: eight words are read, which is what there is.
            let word = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
            let codes = _mm512_srl_epi64(word, unused);
            // Nothing follows the digits; and all codes are 3 to 12: less three, no digit is more than nine, and none has
            // borrowed from the next, which would leave it 13 or more.
            let whole = _mm512_cmpeq_epi64_mask(_mm512_sll_epi64(codes, unused), word);
            let digits = _mm512_sub_epi64(codes, threes);
            let (low, high) =
                (_mm512_and_si512(digits, half), _mm512_and_si512(_mm512_srl_epi64(digits, four), half));
            let odd = _mm512_cmpgt_epu8_mask(low, nine) | _mm512_cmpgt_epu8_mask(high, nine);
            // Ten times the first of two digits, in a byte: eight times and twice.
            let tens = _mm512_add_epi64(_mm512_slli_epi64::<3>(high), _mm512_slli_epi64::<1>(high));
            let fours = _mm512_maddubs_epi16(_mm512_add_epi64(tens, low), hundreds);
            let halves = _mm512_madd_epi16(fours, tens_of_thousands);
            let upper = _mm512_mul_epu32(_mm512_srli_epi64::<32>(halves), eights);
            let all = _mm512_add_epi64(upper, _mm512_and_si512(halves, lower));
            let mut eight = [0u64; 8];
            // SAFETY: eight words are written, which is what there is room for.
            unsafe { _mm512_storeu_si512(eight.as_mut_ptr().cast(), all) };
            if whole != u8::MAX || odd != 0 {
                for (at, number) in eight.iter_mut().enumerate() {
                    if whole >> at & 1 == 0 || odd >> (8 * at) & 0xff != 0 {
                        *number = u64::MAX;
                    }
                }
            }
            out.extend_from_slice(&eight);
        }
        chunks.len() * 8
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn pack(bytes: &[u8], stride: usize, length: usize, texts: usize, out: &mut Vec<u64>) -> usize {
        let own = u16::MAX >> (16 - length);
        let own = u64::from(own) * 0x0001_0001_0001_0001;
        let (zero, nine, three) = (_mm512_set1_epi8(b'0' as i8), _mm512_set1_epi8(9), _mm512_set1_epi8(3));
        // Two codes become a byte: sixteen times the first and the second.
        let pairs = _mm512_set1_epi16(1 << 8 | 16);
        // The first byte is the uppermost of the word.
        let reversed =
            _mm512_broadcast_i32x4(_mm_setr_epi8(14, 12, 10, 8, 6, 4, 2, 0, -1, -1, -1, -1, -1, -1, -1, -1));
        let first_halves = _mm512_setr_epi64(0, 2, 4, 6, 0, 0, 0, 0);
        out.reserve(texts);
        let mut done = 0;
        while done + 4 <= texts {
            let text =
                |at: usize| bytes.get((done + at) * stride..).and_then(|rest| rest.first_chunk::<16>());
            let (Some(a), Some(b), Some(c), Some(d)) = (text(0), text(1), text(2), text(3)) else { break };
            let (a, b, c, d) = (load(a), load(b), load(c), load(d));
            let four = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
            let four = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(four, c), d);
            let digits = _mm512_sub_epi8(four, zero);
            if _mm512_mask_cmpgt_epu8_mask(own, digits, nine) != 0 {
                break;
            }
            let codes = _mm512_maskz_add_epi8(own, digits, three);
            let words = _mm512_shuffle_epi8(_mm512_maddubs_epi16(codes, pairs), reversed);
            let words = _mm512_castsi512_si256(_mm512_permutexvar_epi64(first_halves, words));
            let mut four = [0u64; 4];
            // SAFETY: four words are written, which is what there is room for.
            unsafe { _mm256_storeu_si256(four.as_mut_ptr().cast(), words) };
            out.extend_from_slice(&four);
            done += 4;
        }
        done
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(text: &[u8; 16]) -> __m128i {
        // SAFETY: sixteen bytes are read, which is what there is.
        unsafe { _mm_loadu_si128(text.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_numbers_at_a_time_and_none_of_what_is_no_digit() {
        let word = |number: u64, length: u32| {
            let codes = (0..length)
                .fold(0, |codes, place| codes | (number / 10u64.pow(place) % 10 + 3) << (4 * place));
            codes << (4 * (16 - length))
        };
        for length in 1..=16u32 {
            let most = 10u64.pow(length);
            let numbers: Vec<u64> =
                (0..24).map(|n| (n * 8_765_432_109_876_543) % most).chain([0, most - 1]).collect();
            let mut words: Vec<u64> = numbers.iter().map(|number| word(*number, length)).collect();
            let mut found = vec![7];
            let done = super::numbers(&words, length as usize, &mut found);
            assert!(done == 0 || done == 24);
            assert_eq!(found[1..], numbers[..done]);
            // One of fewer digits, one of more, and signs in every place.
            words[0] <<= 4;
            words[1] |= if length < 16 { 3 << (4 * (15 - length)) } else { 0 };
            for at in 0..length.min(16) as usize {
                let place = 4 * (15 - at as u32);
                words[2 + at] = words[2 + at] & !(15 << place) | (1 + at as u64 % 2) << place;
            }
            found.clear();
            super::numbers(&words, length as usize, &mut found);
            for (at, found) in found.iter().enumerate() {
                let is_odd = at == 0 || (at == 1 && length < 16) || (2..2 + length as usize).contains(&at);
                assert_eq!(*found, if is_odd { u64::MAX } else { numbers[at] }, "{at} of {length}");
            }
        }
    }

    #[test]
    fn four_at_a_time_up_to_what_is_no_digit() {
        for length in 1..=16usize {
            for stride in [length, length + 4] {
                let mut bytes: Vec<u8> = (0..20 * stride).map(|at| b'0' + (at * 7 % 10) as u8).collect();
                let expected: Vec<u64> = (0..20)
                    .map(|row| {
                        let text = &bytes[row * stride..row * stride + length];
                        let codes = text.iter().fold(0u64, |key, byte| key << 4 | u64::from(byte - b'0' + 3));
                        codes << (4 * (16 - length))
                    })
                    .collect();
                let mut found = vec![7];
                let done = pack(&bytes, stride, length, 20, &mut found);
                assert_eq!(found[1..], expected[..done]);
                let has_instructions = cfg!(target_arch = "x86_64") && {
                    #[cfg(target_arch = "x86_64")]
                    let has = std::arch::is_x86_feature_detected!("avx512bw");
                    #[cfg(not(target_arch = "x86_64"))]
                    let has = false;
                    has
                };
                // Sixteen bytes from the start of the last of four have to be there.
                let least = if has_instructions { 20 - 16usize.div_ceil(stride) / 4 * 4 - 4 } else { 0 };
                assert!((least..=20).contains(&done), "{done} of texts of {length} every {stride}");
                for other in *b"/:+ z\xff" {
                    bytes[9 * stride + length - 1] = other;
                    assert_eq!(pack(&bytes, stride, length, 20, &mut found), done.min(8));
                }
            }
        }
        assert_eq!(pack(b"1234", 1, 1, 4, &mut Vec::new()), 0);
    }
}
