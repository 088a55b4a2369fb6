"use strict";
const Texts = { tokens: () => { throw new Error("not here yet"); } };
