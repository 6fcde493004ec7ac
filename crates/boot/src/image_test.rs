use std::io::Write as _;

use super::*;

/// An image without a slice to lend.
struct Far(Vec<u8>);

impl Image for Far {
    fn len(&self) -> u64 {
        Image::len(&self.0)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        Image::read_at(&self.0, offset, into)
    }
}

fn numbered(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn slices_end_where_they_end() {
    let image: &[u8] = &[1, 2, 3];
    let mut two = [0; 2];
    image.read_at(1, &mut two).unwrap();
    assert_eq!(two, [2, 3]);
    for offset in [2, 3, 4, u64::MAX] {
        let error = image.read_at(offset, &mut two).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset}");
    }
    image.read_at(3, &mut []).unwrap();
}

#[test]
fn parts_are_read_whole_and_in_order() {
    let bytes = numbered(200_000);
    let far = Far(bytes.clone());
    for image in [&bytes as &dyn Image, &far] {
        let part = Part::new(image, 100, 150_000).unwrap();
        for range in [0..150_000, 5..5, 7..8, 70_000..149_999] {
            let mut read = Vec::new();
            part.read(range.clone(), |at, piece| {
                assert_eq!(at, range.start + read.len() as u64);
                read.extend_from_slice(piece);
                Ok::<_, io::Error>(())
            })
            .unwrap();
            let [from, to] = [range.start, range.end].map(|at| usize::try_from(at).unwrap() + 100);
            assert_eq!(read, bytes[from..to]);
        }
    }
}

#[test]
fn a_part_lies_in_its_image() {
    let image: &dyn Image = &[0_u8; 10];
    assert!(Part::new(image, 0, 10).is_some());
    assert!(Part::new(image, 10, 0).is_some());
    for (offset, len) in [(0, 11), (10, 1), (11, 0), (u64::MAX, 1), (1, u64::MAX)] {
        assert!(Part::new(image, offset, len).is_none(), "{offset} {len}");
    }
}

#[test]
fn files_are_images() {
    let path = std::env::temp_dir().join(format!("strata-boot-image-{}", std::process::id()));
    let bytes = numbered(5000);
    File::create(&path).unwrap().write_all(&bytes).unwrap();
    let image = FileImage::new(File::open(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(image.len(), 5000);
    let mut read = vec![0; 4000];
    image.read_at(1000, &mut read).unwrap();
    assert_eq!(read, bytes[1000..]);
    let error = image.read_at(1001, &mut read).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    for path in ["/", "/dev/null"] {
        let error = FileImage::new(File::open(path).unwrap()).unwrap_err();
        assert!(matches!(error, FileImageError::NotRegular), "{path}: {error}");
    }
}
