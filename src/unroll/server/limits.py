"""Request limits. A request above one of them gets an error response and does not delay others."""

BODY_BYTES = 8 * 2**20  # of a request
HELD_BYTES = 256 * 2**20  # of all bodies in memory; beyond it, requests get status 503
HEAD_BYTES = 64 * 2**10  # of a request's first line and headers, of a chunk's line, and of the trailers
ITEMS = 256  # images, series or texts in a request
STEPS = 10_000  # time steps of a series, or in one piece of a stream
NUMBERS = 1_000_000  # values in a request's series, or characters in its texts, all padded to the longest
CHARACTERS = 20_000  # of a text
PIXELS = 16_000_000  # of an uploaded image, read from its header before it is decoded
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")  # of uploaded images

CONNECTIONS = 1_000  # open at the same time; requests on further ones get status 503
REQUESTS = 128  # processed at the same time; further ones get status 503
BODY_SECONDS = 20.0  # from the end of a request's headers to the end of its body
REQUEST_SECONDS = 60.0  # from the end of a request's body to its response
IDLE_SECONDS = 30  # before an idle connection is closed
STOP_SECONDS = 90  # for open requests to finish when the server stops

BATCH = 256  # sequences in one batch of the model, across requests
BATCH_STEPS = 65_536  # time steps in one batch, which bounds the memory
SMALL_BODY = 16 * 2**10  # bytes of JSON parsed in the event loop; larger bodies go to another thread
