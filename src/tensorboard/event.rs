//! The messages of event files (tensorflow/core/util/event.proto and
//! tensorflow/core/framework/summary.proto), as far as they are used here.

use prost::Message;

#[derive(Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Tagged>,
}

#[derive(Message)]
struct Tagged {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Content", tags = "2, 4, 5")]
    content: Option<Content>,
}

#[derive(prost::Oneof)]
pub(super) enum Content {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Image(Picture),
    #[prost(message, tag = "5")]
    Histogram(Histogram),
}

#[derive(Message)]
pub(super) struct Picture {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 1: grey.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(double, tag = "1")]
    pub min: f64,
    #[prost(double, tag = "2")]
    pub max: f64,
    #[prost(double, tag = "3")]
    pub num: f64,
    #[prost(double, tag = "4")]
    pub sum: f64,
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// Upper ends of the buckets.
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// The first event of every file.
pub(super) fn version(time: f64) -> Vec<u8> {
    let file_version = Some("brain.Event:2".to_string());
    Event { wall_time: time, step: 0, file_version, summary: None }.encode_to_vec()
}

pub(super) fn value(tag: String, step: u64, time: f64, content: Content) -> Vec<u8> {
    let summary = Some(Summary { value: vec![Tagged { tag, content: Some(content) }] });
    Event { wall_time: time, step: step as i64, file_version: None, summary }.encode_to_vec()
}

/// A PNG of the image, scaled from its minimum to its maximum; a constant image,
/// or one with values that are not finite, is black.
pub(super) fn image(image: &super::Image) -> Result<Picture, png::EncodingError> {
    let low = image.pixels.iter().copied().fold(f32::INFINITY, f32::min);
    let high = image.pixels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = high - low;
    let scaled = image.pixels.iter().map(|&x| {
        let share = (x - low) / range;
        if share.is_finite() { (share * 255.0) as u8 } else { 0 }
    });
    let grey: Vec<u8> = scaled.collect();

    let mut encoded = Vec::new();
    let mut encoder = png::Encoder::new(&mut encoded, image.width as u32, image.height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&grey)?;
    writer.finish()?;
    Ok(Picture {
        height: image.height as i32,
        width: image.width as i32,
        colorspace: 1,
        encoded_image_string: encoded,
    })
}
