/** Decoders of the description's base64 parts. */
export const decode = {
  bytes(text) {
    if (typeof atob === "undefined") return Uint8Array.fromBase64(text); // a JavaScript engine outside a browser
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  },
  floats(text) {
    return new Float32Array(decode.bytes(text).buffer);
  },
};
