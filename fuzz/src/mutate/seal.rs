//! Puts right what a reader checks first: lengths, digests, checksums.

use sha2::{Digest, Sha256};

const KEY: &[u8] = b"\"header_sha256\":\"";

/// A header's text and data as a file; the data starts on a multiple of 64 bytes.
pub fn assemble(header: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (8 + header.len()).next_multiple_of(64) - 8;
    let mut file = (length as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.resize(8 + length, b' ');
    file.extend(data);
    file
}

/// Where a file's data starts; far outside if the length is nonsense.
pub(super) fn data_start(file: &[u8]) -> usize {
    let length = file.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8)
}

/// Recomputes the header's digest, if the file still has a place for one.
pub fn reseal(file: &mut [u8]) {
    let start = data_start(file).min(file.len());
    let Some(place) = file[..start].windows(KEY.len()).position(|window| window == KEY) else { return };
    let digits = place + KEY.len()..place + KEY.len() + 64;
    if digits.end <= start {
        file[digits.clone()].fill(b'0');
        let digest = format!("{:x}", Sha256::digest(&file[..start]));
        file[digits].copy_from_slice(digest.as_bytes());
    }
}

/// The largest number behind the words `data_offsets` of a header: how much data it wants.
pub fn data_end(header: &[u8]) -> Option<usize> {
    const WORD: &[u8] = b"\"data_offsets\":[";
    let mut end = 0;
    for place in 0..header.len().saturating_sub(WORD.len()) {
        if header[place..].starts_with(WORD) {
            let rest = &header[place + WORD.len()..];
            let list = rest.split(|&byte| byte == b']').next()?;
            let last = list.split(|&byte| byte == b',').next_back()?;
            end = end.max(std::str::from_utf8(last).ok()?.trim().parse().ok()?);
        }
    }
    Some(end)
}

/// Recomputes the checksum of each chunk of a PNG file, as far as the chunks go.
pub(super) fn reseal_png(file: &mut [u8]) {
    if !file.starts_with(b"\x89PNG\r\n\x1a\n") {
        return;
    }
    let mut start = 8;
    while let Some(length) = file.get(start..start + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(end) = start.checked_add(8).and_then(|data| data.checked_add(length)) else { return };
        if file.len() < end + 4 {
            return;
        }
        let sum = crc32(&file[start + 4..end]);
        file[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        start = end + 4;
    }
}

/// The checksum of PNG (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, &byte: &u8| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(sum & 1)))
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(data_end(br#"{"a":{"data_offsets":[0,64]},"b":{"data_offsets":[64, 192]}}"#), Some(192));
        assert_eq!(data_end(br#"{"a":{"data_offsets":[0,x]}}"#), None);
    }
}
