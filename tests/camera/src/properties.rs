// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The camera's controls (brightness, exposure, …): what UVC calls the controls of a terminal or
//! unit.

/// What a request for one of them comes to; the number is the code that a host then asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The value is not one of the control's.
    OutOfRange = 4,
    /// There is no such control.
    InvalidControl = 6,
    /// The control knows no such request.
    InvalidRequest = 7,
}

/// Requests of the video class.
pub const SET_CUR: u8 = 0x01;
pub const GET_CUR: u8 = 0x81;
pub const GET_MIN: u8 = 0x82;
pub const GET_MAX: u8 = 0x83;
pub const GET_RES: u8 = 0x84;
pub const GET_LEN: u8 = 0x85;
pub const GET_INFO: u8 = 0x86;
pub const GET_DEF: u8 = 0x87;

/// The camera terminal's ID.
pub const CAMERA_TERMINAL: u8 = 1;
/// The processing unit's ID.
pub const PROCESSING_UNIT: u8 = 2;

/// A control as it is described to the host.
struct Property {
    entity: u8,
    /// What requests name it by.
    selector: u8,
    /// Its place in the entity's bmControls.
    bit: u8,
    /// Of its value, in bytes.
    size: usize,
    min: i32,
    max: i32,
    /// The step; of the exposure mode, the set of modes.
    res: i32,
    default: i32,
}

const fn property(
    place: (u8, u8, u8),
    size: usize,
    range: (i32, i32, i32),
    default: i32,
) -> Property {
    let ((entity, selector, bit), (min, max, res)) = (place, range);
    Property {
        entity,
        selector,
        bit,
        size,
        min,
        max,
        res,
        default,
    }
}

/// Exposure modes are bits: by hand, and with priority of the aperture.
const EXPOSURE_MODE: usize = 0;
const MODES: i32 = 0x01 | 0x08;

const PROPERTIES: [Property; 9] = [
    property((CAMERA_TERMINAL, 0x02, 1), 1, (1, 8, MODES), 8),
    // Exposure time, in units of 100 us.
    property((CAMERA_TERMINAL, 0x04, 3), 4, (1, 5000, 1), 156),
    // Brightness, contrast, saturation, sharpness.
    property((PROCESSING_UNIT, 0x02, 0), 2, (-64, 64, 1), 0),
    property((PROCESSING_UNIT, 0x03, 1), 2, (0, 95, 1), 32),
    property((PROCESSING_UNIT, 0x07, 3), 2, (0, 100, 1), 64),
    property((PROCESSING_UNIT, 0x08, 4), 2, (0, 7, 1), 2),
    // White balance: temperature in kelvin, and whether the camera chooses it.
    property((PROCESSING_UNIT, 0x0a, 6), 2, (2800, 6500, 10), 4600),
    property((PROCESSING_UNIT, 0x0b, 12), 1, (0, 1, 1), 1),
    // The frequency of the lamps: off, 50 Hz, 60 Hz.
    property((PROCESSING_UNIT, 0x05, 10), 1, (0, 2, 1), 1),
];

/// The bmControls of an entity: which of the class's controls it has.
pub fn bitmap(entity: u8) -> u32 {
    PROPERTIES
        .iter()
        .filter(|property| property.entity == entity)
        .fold(0, |bits, property| bits | 1 << property.bit)
}

/// The controls' values.
pub struct Properties {
    values: [i32; PROPERTIES.len()],
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            values: PROPERTIES.each_ref().map(|property| property.default),
        }
    }
}

impl Properties {
    /// Answers a request; `data` is what the host sent with it.
    ///
    /// # Errors
    ///
    /// What the host is told when it asks for the reason.
    pub fn request(
        &mut self,
        entity: u8,
        selector: u8,
        request: u8,
        data: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let index = PROPERTIES
            .iter()
            .position(|property| (property.entity, property.selector) == (entity, selector))
            .ok_or(Refusal::InvalidControl)?;
        let property = &PROPERTIES[index];
        let value = match request {
            SET_CUR => {
                self.values[index] = accepted(index, data).ok_or(Refusal::OutOfRange)?;
                return Ok(Vec::new());
            }
            // It can be read and set.
            GET_INFO => return Ok(vec![3]),
            GET_LEN => return Ok((property.size as u16).to_le_bytes().to_vec()),
            GET_CUR => self.values[index],
            GET_MIN => property.min,
            GET_MAX => property.max,
            GET_RES => property.res,
            GET_DEF => property.default,
            _ => return Err(Refusal::InvalidRequest),
        };
        Ok(value.to_le_bytes()[..property.size].to_vec())
    }
}

/// The value in `data`, when it is one of the control's.
fn accepted(index: usize, data: &[u8]) -> Option<i32> {
    let property = &PROPERTIES[index];
    let data = data.get(..property.size)?;
    // The value's own sign, where its range has one.
    let fill = if property.min < 0 && data[property.size - 1] & 0x80 != 0 {
        0xff
    } else {
        0
    };
    let mut bytes = [fill; 4];
    bytes[..property.size].copy_from_slice(data);
    let value = i32::from_le_bytes(bytes);
    let known = if index == EXPOSURE_MODE {
        value.count_ones() == 1 && value & !MODES == 0
    } else {
        (property.min..=property.max).contains(&value) && (value - property.min) % property.res == 0
    };
    known.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_control_keeps_its_range() {
        let mut properties = Properties::default();
        for property in &PROPERTIES {
            let mut ask = |request, data: &[u8]| {
                properties.request(property.entity, property.selector, request, data)
            };
            let default = ask(GET_DEF, &[]).unwrap();
            assert_eq!(default.len(), property.size);
            assert_eq!(ask(GET_CUR, &[]).unwrap(), default);
            for bound in [GET_MIN, GET_MAX, GET_DEF] {
                let value = ask(bound, &[]).unwrap();
                assert_eq!(ask(SET_CUR, &value), Ok(Vec::new()));
                assert_eq!(ask(GET_CUR, &[]).unwrap(), value);
            }
            for outside in [property.min - 1, property.max + 1] {
                let value = &outside.to_le_bytes()[..property.size];
                assert_eq!(ask(SET_CUR, value), Err(Refusal::OutOfRange), "{outside}");
            }
            assert_eq!(ask(SET_CUR, &[]), Err(Refusal::OutOfRange));
            assert_eq!(ask(GET_CUR, &[]).unwrap(), default);
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let mut properties = Properties::default();
        assert_eq!(
            properties.request(PROCESSING_UNIT, 0x13, GET_CUR, &[]),
            Err(Refusal::InvalidControl)
        );
        assert_eq!(
            properties.request(9, 2, GET_CUR, &[]),
            Err(Refusal::InvalidControl)
        );
        assert_eq!(
            properties.request(PROCESSING_UNIT, 2, 0x42, &[]),
            Err(Refusal::InvalidRequest)
        );
        // Modes are single bits.
        assert_eq!(
            properties.request(CAMERA_TERMINAL, 2, SET_CUR, &[9]),
            Err(Refusal::OutOfRange)
        );
    }

    #[test]
    fn bitmaps_name_the_controls() {
        assert_eq!(bitmap(CAMERA_TERMINAL), 0b1010);
        assert_eq!(bitmap(PROCESSING_UNIT), 0b1_0100_0101_1011);
    }
}
