"""What the server takes at most. Beyond it a request is refused in words, and nobody else has to wait for it."""

BODY_BYTES = 8 * 2**20  # of a request
HELD_BYTES = 256 * 2**20  # of all requests that are being sent or worked on; further ones are answered 503
HEAD_BYTES = 64 * 2**10  # of a request's first line and headers, of a chunk's line, and of the trailers
ITEMS = 256  # images, series or texts in a request
STEPS = 10_000  # time steps of a series, or in one piece of a stream
NUMBERS = 1_000_000  # of all series of a request, or characters of all its texts, each as long as the longest
CHARACTERS = 20_000  # of a text
PIXELS = 16_000_000  # of an uploaded image, known before it is unpacked
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")  # of uploaded images: the common ones that Pillow knows

CONNECTIONS = 1_000  # open at the same time; requests on further ones are answered 503
REQUESTS = 128  # that are worked on at the same time; further ones are answered 503
BODY_SECONDS = 20.0  # from the end of a request's headers to the end of its body
REQUEST_SECONDS = 60.0  # from there to its answer
IDLE_SECONDS = 30  # that a connection is kept open for a further request
STOP_SECONDS = 90  # for what is being worked on when the server is told to stop

BATCH = 256  # sequences that the model reads at once, from however many requests
BATCH_STEPS = 65_536  # time steps of all of them, which bounds the memory
SMALL_BODY = 16 * 2**10  # bytes of JSON that are read between two other requests; larger ones in a thread of their own
