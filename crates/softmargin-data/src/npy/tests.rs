use super::array::NpyArray;
use super::labels::Labels;
use super::rows::NpyRows;
use crate::error::Error;

/// A file as `numpy.save` writes it.
fn file(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn read(file: &[u8]) -> Result<NpyArray, Error> {
    NpyArray::from_reader("x.npy", &mut &*file)
}

#[track_caller]
fn rejection(file: &[u8]) -> String {
    let error = read(file).expect_err("rejected");
    assert_eq!(error.exit_code(), 1);
    let message = error.to_string();
    assert!(message.starts_with("x.npy: expected "), "{message}");
    message
}

#[test]
fn numbers_of_every_width_and_either_end_first() {
    // 1.5, -2 and 65504, the largest half.
    let halves = [0x00, 0x3e, 0x00, 0xc0, 0xff, 0x7b];
    assert_eq!(read(&file("'<f2'", false, "(3,)", &halves)).unwrap().into_f32().unwrap(), [1.5, -2.0, 65504.0]);
    let turned = [0x3e, 0x00, 0xc0, 0x00, 0x7b, 0xff];
    assert_eq!(read(&file("'>f2'", false, "(3,)", &turned)).unwrap().into_f32().unwrap(), [1.5, -2.0, 65504.0]);
    let doubles: Vec<u8> = [0.1_f64, -1e300, f64::NAN].iter().flat_map(|value| value.to_be_bytes()).collect();
    let values = read(&file("'>f8'", false, "(1, 3)", &doubles)).unwrap().into_f32().unwrap();
    assert_eq!(values[..2], [0.1_f32, f32::NEG_INFINITY]);
    assert!(values[2].is_nan());
    let singles: Vec<u8> = [0.1_f32, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(read(&file("'<f4'", false, "(2, 1)", &singles)).unwrap().into_f32().unwrap(), [0.1, 3.0]);
    assert!(read(&file("'<f4'", false, "(2, 1)", &singles)).unwrap().into_bytes().is_err());
}

#[test]
fn fortran_order_becomes_c_order_in_any_dimension() {
    // NumPy: numpy.arange(24).reshape(2, 3, 4).tobytes('F').
    let data = [0, 12, 4, 16, 8, 20, 1, 13, 5, 17, 9, 21, 2, 14, 6, 18, 10, 22, 3, 15, 7, 19, 11, 23];
    let array = read(&file("'|u1'", true, "(2, 3, 4)", &data)).unwrap();
    assert_eq!((array.shape(), array.element_type()), (&[2, 3, 4][..], "|u1"));
    assert_eq!(array.into_bytes().unwrap(), (0..24).collect::<Vec<u8>>());
    for shape in ["()", "(1,)", "(1, 1, 1)"] {
        assert_eq!(read(&file("'|u1'", true, shape, &[7])).unwrap().into_bytes().unwrap(), [7]);
    }
    assert_eq!(read(&file("'|u1'", true, "(0, 5)", &[])).unwrap().into_bytes().unwrap(), [0; 0]);
}

#[test]
fn labels_are_integers_or_strings() {
    let labels = |descr: &str, shape: &str, data: &[u8]| read(&file(descr, false, shape, data)).unwrap().into_labels();
    let numbers = |numbers: &[u64]| Labels::Numbers(numbers.to_vec());
    assert_eq!(labels("'|i1'", "(2,)", &[3, 127]).unwrap(), numbers(&[3, 127]));
    assert_eq!(labels("'|u1'", "(2,)", &[3, 255]).unwrap(), numbers(&[3, 255]));
    assert_eq!(labels("'>i4'", "(1,)", &[0, 0, 1, 2]).unwrap(), numbers(&[258]));
    assert_eq!(labels("'<u8'", "(1,)", &[255; 8]).unwrap(), numbers(&[u64::MAX]));
    let names = |names: &[&str]| Labels::Names(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(labels("'|S3'", "(2,)", b"catox\0").unwrap(), names(&["cat", "ox"]));
    let unicode: Vec<u8> = "é\0ab".chars().flat_map(|letter| (letter as u32).to_le_bytes()).collect();
    assert_eq!(labels("'<U2'", "(2,)", &unicode).unwrap(), names(&["é", "ab"]));

    let rejection = |result: Result<Labels, Error>| result.expect_err("rejected").to_string();
    let message = rejection(labels("'<i2'", "(2,)", &[1, 0, 0xfe, 0xff]));
    assert!(message.contains("expected labels from 0, found -2 in row 1"), "{message}");
    let message = rejection(labels("'<i8'", "(1,)", &[0, 0, 0, 0, 0, 0, 0, 128]));
    assert!(message.contains("found -9223372036854775808 in row 0"), "{message}");
    assert!(rejection(labels("'<U1'", "(1,)", &0xd800_u32.to_le_bytes())).contains("broken characters in row 0"));
    assert!(rejection(labels("'|S1'", "(2,)", b"a\0")).contains("in row 1"));
    assert!(rejection(labels("'|S1'", "(1,)", b"\xff")).contains("in row 0"));
    assert!(rejection(labels("'|u1'", "(2, 1)", &[0, 1])).contains("expected an array of one dimension"));
    assert!(rejection(labels("'<f4'", "(1,)", &[0; 4])).contains("labels.astype('int64')"));
}

#[test]
fn what_is_neither_numbers_nor_strings_is_rejected() {
    let message = rejection(&file("'|O'", false, "(2,)", b"\x80\x04]\x94."));
    assert!(message.contains("found Python objects") && message.contains("astype"), "{message}");
    assert!(rejection(&file("[('a', '|O')]", false, "(2,)", &[0; 16])).contains("Python objects"));
    assert!(rejection(&file("[('a', '<f4'), ('b', '<i8')]", false, "(1,)", &[0; 12])).contains("records"));
    for descr in ["'|b1'", "'<c8'", "'<M8[s]'", "'<f16'", "'|V4'", "'|S0'", "'<U0'"] {
        let message = rejection(&file(descr, false, "(1,)", &[0; 16]));
        assert!(message.contains("an array of numbers or strings, found type"), "{descr}: {message}");
    }
}

#[test]
fn broken_headers_are_rejected() {
    let whole = file("'|u1'", false, "(3,)", &[1, 2, 3]);
    for length in 0..128 {
        assert!(rejection(&whole[..length]).contains("cut short"), "{length}");
    }
    assert!(rejection(b"PK\x03\x04 and so on").contains("other content"));
    assert!(rejection(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("a header of 4294967295 bytes"));
    assert!(rejection(&file(&"(".repeat(9000), false, "(3,)", &[])).contains("brackets in brackets"));
    for shape in ["(-1,)", "(1.5,)", "3", "'x'", "(3,"] {
        assert!(rejection(&file("'|u1'", false, shape, &[1, 2, 3])).contains("header"), "{shape}");
    }
    for header in ["{'descr': '|u1'}", "[]", "nonsense", "", "{'descr': 1, 'fortran_order': False, 'shape': ()}"] {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend([u8::try_from(header.len()).unwrap(), 0]);
        file.extend(header.as_bytes());
        assert!(rejection(&file).contains("expected the header of a .npy file"), "{header}");
    }
    // A later version of the format, with a longer length.
    let mut later = b"\x93NUMPY\x03\x00".to_vec();
    later.extend(u32::try_from(whole.len() - 13).unwrap().to_le_bytes());
    later.extend(&whole[10..]);
    assert_eq!(read(&later).unwrap().into_bytes().unwrap(), [1, 2, 3]);
}

#[test]
fn a_shape_that_the_data_do_not_have_is_rejected() {
    assert!(rejection(&file("'|u1'", false, "(3,)", &[1, 2])).contains("found 2; the file is cut short"));
    assert!(rejection(&file("'|u1'", false, "(3,)", &[1, 2, 3, 4])).contains("found more; the file is damaged"));
    // More than any memory, more than 64 bits, and so much that 64 bits wrap round to little.
    for shape in ["(1000000000000,)", "(4294967296, 4294967296)", "(4294967296, 2147483648, 2, 3)"] {
        let message = rejection(&file("'<f4'", false, shape, &[1, 2, 3, 4]));
        assert!(message.contains("cut short") || message.contains("more elements than"), "{shape}: {message}");
    }
    // One dimension of 0 makes nothing of all the others.
    assert!(rejection(&file("'<f4'", false, "(4294967296, 4294967296, 0)", &[])).contains("more elements than"));
}

#[test]
fn no_change_of_a_header_is_a_panic() {
    let whole = file("'<f4'", true, "(2, 3)", &[0; 24]);
    for at in 0..128 {
        for byte in [0, 9, b'\n', b' ', b'\'', b'(', b')', b',', b'0', b'9', b'<', b'O', b'U', b'{', b'}', 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] = byte;
            if let Ok(array) = read(&changed) {
                let _ = (array.clone().into_f32(), array.clone().into_bytes(), array.into_labels());
            }
        }
    }
}

#[test]
fn rows_are_read_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let data: Vec<u8> = (0..12).flat_map(|value| (value as f32).to_le_bytes()).collect();
    std::fs::write(&path, file("'<f4'", false, "(4, 3)", &data)).unwrap();
    let rows = NpyRows::open(&path).unwrap();
    assert_eq!((rows.shape(), rows.is_by_rows()), ([4, 3], true));
    let mut out = [0.0; 6];
    rows.read(1, &mut out).unwrap();
    assert_eq!(out, [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    std::fs::write(&path, file("'<f4'", true, "(4, 3)", &data)).unwrap();
    assert!(!NpyRows::open(&path).unwrap().is_by_rows());
    for (descr, shape, data) in
        [("'<i4'", "(4, 3)", &data[..]), ("'<f4'", "(12,)", &data), ("'<f4'", "(4, 3)", &data[1..])]
    {
        std::fs::write(&path, file(descr, false, shape, data)).unwrap();
        let message = NpyRows::open(&path).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
    }
}
