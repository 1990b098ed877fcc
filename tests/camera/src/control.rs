// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Endpoint 0: the requests of USB, and those of the video class.

use crate::descriptors::{CONTROL_INTERFACE, ENDPOINT, STREAMING_INTERFACE, descriptor};
use crate::properties::{
    GET_CUR, GET_DEF, GET_INFO, GET_LEN, GET_MAX, GET_MIN, Properties, Refusal, SET_CUR,
};
use crate::stream::{PARAMETERS, Parameters};

/// What a request does to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The host will take this.
    Start(Parameters),
    /// The host takes no more.
    Stop,
}

/// The state behind endpoint 0.
#[derive(Default)]
pub struct Control {
    configuration: u8,
    probe: Parameters,
    commit: Parameters,
    properties: Properties,
    /// Why the last request was refused; 0 when it was not.
    refusal: u8,
}

/// A request that the camera does not take: the transfer stalls.
#[derive(Debug, PartialEq, Eq)]
pub struct Stall;

const PROBE: u8 = 1;
const COMMIT: u8 = 2;
const REQUEST_ERROR_CODE: u8 = 2;

impl Control {
    /// Answers the request in `setup`; `data` is what the host sent with it.
    ///
    /// # Errors
    ///
    /// [`Stall`]; the host may then ask for the reason.
    pub fn request(&mut self, setup: [u8; 8], data: &[u8]) -> Result<(Vec<u8>, Effect), Stall> {
        let [
            kind,
            request,
            value_low,
            value,
            index_low,
            index,
            length_low,
            length,
        ] = setup;
        let mut answer = match kind {
            0x21 | 0xa1 if (request & 0x80 != 0) == (kind & 0x80 != 0) => {
                self.class(request, value, (index_low, index), data)?
            }
            _ => self.standard(kind, request, (value_low, value), index_low)?,
        };
        answer
            .0
            .truncate(u16::from_le_bytes([length_low, length]).into());
        Ok(answer)
    }

    /// Requests of every device.
    fn standard(
        &mut self,
        kind: u8,
        request: u8,
        value: (u8, u8),
        index: u8,
    ) -> Result<(Vec<u8>, Effect), Stall> {
        match (kind, request) {
            // GET_STATUS: self-powered; nothing of interfaces and endpoints.
            (0x80, 0) => Ok((vec![1, 0], Effect::None)),
            (0x81 | 0x82, 0) => Ok((vec![0, 0], Effect::None)),
            // CLEAR_FEATURE(ENDPOINT_HALT): on a bulk endpoint this is how a host says that it
            // stops.
            (0x02, 1) if value.0 == 0 && index == ENDPOINT => Ok((Vec::new(), Effect::Stop)),
            (0x80, 6) => Ok((descriptor(value.1, value.0).ok_or(Stall)?, Effect::None)),
            (0x80, 8) => Ok((vec![self.configuration], Effect::None)),
            (0x00, 9) if value.0 <= 1 => {
                self.configuration = value.0;
                Ok((Vec::new(), Effect::Stop))
            }
            // GET_INTERFACE, SET_INTERFACE: there is one setting.
            (0x81, 10) => Ok((vec![0], Effect::None)),
            (0x01, 11) if value.0 == 0 => Ok((Vec::new(), Effect::None)),
            _ => Err(Stall),
        }
    }

    /// Requests of the video class, to an interface or (`index.1`) to an entity of it.
    fn class(
        &mut self,
        request: u8,
        selector: u8,
        index: (u8, u8),
        data: &[u8],
    ) -> Result<(Vec<u8>, Effect), Stall> {
        let answer = match index {
            (CONTROL_INTERFACE, 0) if (selector, request) == (REQUEST_ERROR_CODE, GET_CUR) => {
                return Ok((vec![self.refusal], Effect::None));
            }
            (CONTROL_INTERFACE, entity) => self
                .properties
                .request(entity, selector, request, data)
                .map(|bytes| (bytes, Effect::None)),
            (STREAMING_INTERFACE, 0) => self.streaming(request, selector, data),
            _ => Err(Refusal::InvalidControl),
        };
        self.refusal = answer.as_ref().err().map_or(0, |refusal| *refusal as u8);
        answer.map_err(|_| Stall)
    }

    fn streaming(
        &mut self,
        request: u8,
        selector: u8,
        data: &[u8],
    ) -> Result<(Vec<u8>, Effect), Refusal> {
        let parameters = match selector {
            PROBE => &mut self.probe,
            COMMIT => &mut self.commit,
            _ => return Err(Refusal::InvalidControl),
        };
        let bytes = match request {
            SET_CUR => {
                *parameters = Parameters::nearest(data).ok_or(Refusal::OutOfRange)?;
                let effect = if selector == COMMIT {
                    Effect::Start(self.commit)
                } else {
                    Effect::None
                };
                return Ok((Vec::new(), effect));
            }
            GET_INFO => vec![3],
            GET_LEN => (PARAMETERS as u16).to_le_bytes().to_vec(),
            GET_CUR | GET_MIN | GET_MAX => parameters.to_bytes().to_vec(),
            GET_DEF => Parameters::default().to_bytes().to_vec(),
            _ => return Err(Refusal::InvalidRequest),
        };
        Ok((bytes, Effect::None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::PROCESSING_UNIT;

    const SET: u8 = 0x21;
    const GET: u8 = 0xa1;

    #[test]
    fn descriptors_are_cut_to_what_is_asked_for() {
        let mut control = Control::default();
        let (whole, _) = control
            .request([0x80, 6, 0, 2, 0, 0, 0xff, 0xff], &[])
            .unwrap();
        let (start, _) = control.request([0x80, 6, 0, 2, 0, 0, 9, 0], &[]).unwrap();
        assert_eq!(start, whole[..9]);
        assert_eq!(
            control.request([0x80, 6, 0, 6, 0, 0, 10, 0], &[]),
            Err(Stall)
        );
    }

    #[test]
    fn commit_starts_and_clearing_the_endpoint_stops() {
        let mut control = Control::default();
        let asked = Parameters {
            size: 1,
            ..Parameters::default()
        };
        let setup = |request: u8, kind, selector| [kind, request, 0, selector, 1, 0, 34, 0];
        let (_, effect) = control
            .request(setup(SET_CUR, SET, PROBE), &asked.to_bytes())
            .unwrap();
        assert_eq!(effect, Effect::None);
        let (bytes, _) = control.request(setup(GET_CUR, GET, PROBE), &[]).unwrap();
        assert_eq!(bytes, asked.to_bytes());
        let (_, effect) = control
            .request(setup(SET_CUR, SET, COMMIT), &bytes)
            .unwrap();
        assert_eq!(effect, Effect::Start(asked));
        let (_, effect) = control
            .request([0x02, 1, 0, 0, ENDPOINT, 0, 0, 0], &[])
            .unwrap();
        assert_eq!(effect, Effect::Stop);
    }

    #[test]
    fn refusals_have_a_reason() {
        let mut control = Control::default();
        let brightness = |kind, request| [kind, request, 0, 2, 0, PROCESSING_UNIT, 2, 0];
        let reason = [GET, GET_CUR, 0, REQUEST_ERROR_CODE, 0, 0, 1, 0];
        assert_eq!(
            control.request(brightness(SET, SET_CUR), &[0xff, 0x7f]),
            Err(Stall)
        );
        assert_eq!(
            control.request(reason, &[]).unwrap().0,
            [Refusal::OutOfRange as u8]
        );
        assert_eq!(
            control.request(brightness(GET, GET_CUR), &[]).unwrap().0,
            [0, 0]
        );
        assert_eq!(control.request(reason, &[]).unwrap().0, [0]);
        // A request whose direction is not that of the transfer.
        assert_eq!(control.request(brightness(SET, GET_CUR), &[]), Err(Stall));
    }
}
