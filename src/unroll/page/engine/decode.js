/** Decoders of the description's base64 parts, which may be many megabytes. */
export const decode = {
  bytes(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const characters = atob(text); // in a browser from before 2025
    const bytes = new Uint8Array(characters.length);
    for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
    return bytes;
  },
  floats(text) {
    return new Float32Array(decode.bytes(text).buffer);
  },
};
